"""The frontier: which source words may be relied on."""

from __future__ import annotations

from agent.words import Frontier, SourceWord

WORDS = (
    SourceWord("the", 10.0, 10.2, stability=3),
    SourceWord("old", 10.2, 10.5, stability=1),
    SourceWord("teacher", 10.5, 11.0, stability=2),
)


def test_what_counts_as_heard() -> None:
    assert Frontier.at(WORDS, 11.0, 0.0) == Frontier(3, 3)
    assert Frontier.at(WORDS, 11.0, 0.4) == Frontier(2, 3)  # the last word ended too recently
    assert Frontier.at(WORDS, 11.0, 0.4, n_context=5) == Frontier(7, 8)
    assert Frontier.at(WORDS, 20.0, 0.0, min_stability=2) == Frontier(1, 3)  # an unstable word keeps back the next ones
    assert Frontier.at(WORDS, 11.0, 5.0, n_context=2, finished=True, min_stability=9) == Frontier(5, 5, True)
    assert Frontier.at(WORDS, 11.0, 0.4).words == WORDS
