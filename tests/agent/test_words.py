"""The frontier: which source words may be relied on."""

from __future__ import annotations

from agent.words import Frontier, SourceWord

WORDS = (
    SourceWord("the", 10.0, 10.2, stability=3),
    SourceWord("old", 10.2, 10.5, stability=1),
    SourceWord("teacher", 10.5, 11.0, stability=2),
)


def test_words_that_ended_too_recently_are_not_accessible() -> None:
    assert Frontier.at(WORDS, 11.0, 0.0) == Frontier(3, 3)
    assert Frontier.at(WORDS, 11.0, 0.4) == Frontier(2, 3)
    assert Frontier.at(WORDS, 11.0, 0.4, n_context=5) == Frontier(7, 8)


def test_an_unstable_word_keeps_the_words_after_it_from_being_accessible() -> None:
    assert Frontier.at(WORDS, 20.0, 0.0, min_stability=2) == Frontier(1, 3)


def test_a_finished_source_is_accessible_whole() -> None:
    assert Frontier.at(WORDS, 11.0, 5.0, n_context=2, finished=True, min_stability=9) == Frontier(5, 5, True)
