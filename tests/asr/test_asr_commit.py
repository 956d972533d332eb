"""The commit rule: agreement, sentence ends, clamping, loops and the bounded tail."""

from __future__ import annotations

import math

import pytest

from agent.asr.commit import (
    Stabilizer,
    best_cut,
    clamp_times,
    collapse_loops,
    count_stability,
    join_punctuation,
    normalize,
    sentence_ends,
)
from agent.words import SourceWord


def spoken(text: str, start_s: float = 0.0, word_s: float = 0.4) -> tuple[SourceWord, ...]:
    """Words of ``word_s`` without pauses; ``|`` is a pause of a second."""
    words = []
    for token in text.split():
        if token == "|":
            start_s += 1.0
        else:
            words.append(SourceWord(token, round(start_s, 3), round(start_s + word_s, 3)))
            start_s += word_s
    return tuple(words)


def texts(segments: tuple[tuple[SourceWord, ...], ...]) -> list[str]:
    return [" ".join(word.text for word in segment) for segment in segments]


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("It rains. We stay.", [1, 3]),
        ("Really? Yes! Go.", [0, 1, 2]),
        ("Dr. S. Miller and Prof. Lee agree.", [6]),
        ("written by J. R. R. Tolkien.", [5]),
        ("a factor of 3.5 in total.", [5]),
        ("It was 2019. Then we left.", [2, 5]),
        ("a factor of 3.", []),
        ("a factor of 3. 5 in total.", [6]),
        ("well... maybe… we wait.", [3]),
        ("e.g. this, i.e. that, see Fig. 3 and so on.", [9]),
        ("apples, pears, etc. We eat.", [2, 4]),
        ("apples, pears, etc. are fruit.", [4]),
        ("apples, pears, etc.", []),
        ("at 9 a.m. we start.", [4]),
        ("in the U.S. We start.", [2, 4]),
        ("Yahoo! is a firm.", [3]),
        ("He said “go.” She went.", [2, 4]),
        ("Is it (yes?) Good.", [2, 3]),
        ("你好。 再见。", [0, 1]),
        ("all is lower. case is unknown.", [2, 5]),
        ("So did I. You too.", [2, 4]),
        ("", []),
        ("—", []),
    ],
)
def test_sentence_ends(text: str, ends: list[int]) -> None:
    assert [index for index, is_end in enumerate(sentence_ends(text.split())) if is_end] == ends


def test_letters_and_digits_are_compared_and_lone_punctuation_is_no_word() -> None:
    assert normalize("“Don’t,") == normalize("don't") == "dont"
    assert normalize("—") == ""
    joined = join_punctuation(spoken("“ well — known ,"))
    assert [word.text for word in joined] == ["“well—", "known,"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a very very very very good day", "a very very very very good day"),
        ("a very very very very very good day", "a very good day"),
        ("go " * 50, "go"),
        ("so to say " * 6 + "yes", "so to say yes"),
        ("thank you " * 3, "thank you thank you thank you"),
    ],
)
def test_loops_collapse(text: str, kept: str) -> None:
    assert " ".join(word.text for word in collapse_loops(spoken(text))) == kept.strip()


def test_times_are_clamped_and_no_word_is_dropped() -> None:
    times_s = [(-1.0, 0.5), (0.4, 3.0), (0.2, 0.1), (math.nan, math.inf), (9.0, 11.0)]
    clamped = clamp_times([SourceWord(text, *times) for text, times in zip("abcde", times_s, strict=True)], 0.1, 10.0)
    assert [word.text for word in clamped] == list("abcde")
    edges = [edge for word in clamped for edge in (word.start_s, word.end_s)]
    assert edges == sorted(edges)
    assert (edges[0], edges[-1]) == (0.1, 10.0)
    hypothesis = Stabilizer().update([SourceWord("hello", 0.2, 7.0)], now_s=0.85)
    assert hypothesis.live == (SourceWord("hello", 0.2, 0.85),)


def test_stability_counts_the_common_prefix() -> None:
    first = count_stability((), spoken("the old man"))
    second = count_stability(first, spoken("The old, woman walks"))
    third = count_stability(second, spoken("the old woman walks"))
    assert [word.stability for word in second] == [2, 2, 1, 1]
    assert [word.stability for word in third] == [3, 3, 2, 2]


def test_a_sentence_is_committed_once_two_hypotheses_share_it() -> None:
    rule = Stabilizer()
    first = rule.update(spoken("It rains. We"), 1.3)
    assert (first.committed, len(first.live)) == ((), 3)
    second = rule.update(spoken("It rains. We stay"), 2.0)
    assert texts(second.committed) == ["It rains."]
    assert [word.stability for word in second.committed[0]] == [2, 2]
    assert texts((second.live,)) == ["We stay"]
    assert [word.stability for word in second.live] == [2, 1]
    assert rule.committed_until_s == 0.8
    third = rule.update(spoken("We stay here. Good. Yes", 0.8), 3.0)
    fourth = rule.update(spoken("We stay here. Good. Yes it", 0.8), 3.4)
    assert third.committed == ()
    assert texts(fourth.committed) == ["We stay here.", "Good."]
    assert [word.stability for word in fourth.committed[0]] == [4, 3, 2]
    last = rule.finish(3.6)
    assert texts(last.committed) == ["Yes it"]
    assert last.live == ()


def test_both_hypotheses_have_to_see_the_sentence_end() -> None:
    rule = Stabilizer()
    rule.update(spoken("it rains and"), 1.2)
    assert rule.update(spoken("it rains. And"), 1.6).committed == ()
    assert texts(rule.update(spoken("it rains. And so"), 1.9).committed) == ["it rains."]


@pytest.mark.parametrize("n", [1, 3])
def test_hypotheses_to_agree(n: int) -> None:
    rule = Stabilizer(hypotheses_to_agree=n)
    counts = [len(rule.update(spoken("It rains. We"), 1.2 + step).committed) for step in range(4)]
    assert counts[:n] == [0] * (n - 1) + [1]
    with pytest.raises(ValueError, match="at least 1"):
        Stabilizer(hypotheses_to_agree=0)


def test_finish_splits_sentences_and_reset_forgets() -> None:
    rule = Stabilizer()
    rule.update(spoken("It rains. We stay. Then 3."), 3.0)
    assert texts(rule.finish(3.0).committed) == ["It rains.", "We stay.", "Then 3."]
    assert rule.finish(3.0).committed == ()
    rule.reset()
    rule.reset()
    assert rule.committed_until_s == 0.0
    assert rule.update((), 0.5).live == ()


@pytest.mark.parametrize(
    ("text", "now_s", "kept"),
    [
        ("one two three four | five six", 3.4, 4),  # the pause
        ("one | two three four five six seven, eight nine", 4.6, 7),  # no pause in the second half: the comma
        ("one two three four five six", 2.4, 5),  # neither: all but the last word
        ("one two three four", 9.0, 4),  # silence at the end
        ("one", 9.0, 1),
        ("", 9.0, 0),
    ],
)
def test_best_cut(text: str, now_s: float, kept: int) -> None:
    assert best_cut(spoken(text), now_s) == kept


def test_tail_is_bounded_without_any_sentence_end() -> None:
    rule = Stabilizer(max_live_s=5.0)
    words = spoken(" ".join(f"w{index}" for index in range(100)))
    committed: list[SourceWord] = []
    for heard in range(1, 101):
        now_s = words[heard - 1].end_s
        hypothesis = rule.update(words[len(committed) : heard], now_s)
        committed += [word for segment in hypothesis.committed for word in segment]
        assert not hypothesis.live or now_s - hypothesis.live[0].start_s <= 5.0
    committed += [word for segment in rule.finish(40.0).committed for word in segment]
    assert [word.text for word in committed] == [word.text for word in words]


def test_what_is_expected_of_words_without_times_is_what_comes_of_them() -> None:
    said = ["We saw it.", "We saw it. Then", "We saw it. Then we", "We saw it. Then we left."]
    stabilizer = Stabilizer()
    dropped = 0
    for number, text in enumerate(said):
        words = [SourceWord(word, float(index), index + 0.5) for index, word in enumerate(text.split())][dropped:]
        expected = stabilizer.expect([word.text for word in words], number + 4.0)
        assert stabilizer.expect([word.text for word in words], number + 4.0) == expected
        update = stabilizer.update(words, number + 4.0)
        dropped += sum(map(len, update.committed))
        for timed, untimed in ((update.live, expected.live), *zip(update.committed, expected.committed, strict=True)):
            assert [(w.text, w.stability) for w in timed] == [(w.text, w.stability) for w in untimed]
    assert dropped == 3
