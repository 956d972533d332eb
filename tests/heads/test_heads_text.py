"""Parallel text: what is read, how it is split, what is left out; alignments as given, eflomal's against gold ones."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from planted import needs_eflomal

from agent.errors import UserError
from demo.make.calibrate import write_corpus
from heads.align import coverage, eflomal, given, read_pharaoh, to_aligned
from heads.corpus import (
    OVERLAP,
    SentencePair,
    normalised,
    piece_spans,
    read_corpus,
    read_lines,
    unit_spans,
)


def texts(text: str, spans: list[tuple[int, int]]) -> list[str]:
    return [text[a:b] for a, b in spans]


@pytest.mark.parametrize(
    ("text", "expected_pieces", "expected_units"),
    [
        ("L'insegnante, però, va.", ["L", "insegnante", "però", "va"], ["L'insegnante,", "però,", "va."]),
        ("It's 3.5 % – OK?", ["It", "s", "3", "5", "OK"], ["It's", "3.5", "%", "–", "OK?"]),
        ("用 GPT-4 模型。", ["用", "GPT", "4", "模", "型"], ["用", "GPT-4", "模", "型", "。"]),
        ("", [], []),
    ],
)
def test_pieces_and_units(text: str, expected_pieces: list[str], expected_units: list[str]) -> None:
    assert texts(text, piece_spans(text)) == expected_pieces
    assert texts(text, unit_spans(text)) == expected_units


GOOD = ("the old teacher repairs the machine", "der alte Lehrer repariert die Maschine")


def write(folder: Path, *pairs: tuple[str, str]) -> tuple[Path, Path]:
    paths = folder / "a.en", folder / "a.de"
    for side, path in enumerate(paths):
        path.write_text("".join(pair[side] + "\n" for pair in pairs), encoding="utf-8")
    return paths


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (("", "leer"), "empty on one side"),
        (("so what", "na und"), "shorter than 3 words"),
        (("a " * 61, "ein " * 61), "longer than 60 words"),
        (("Angela Merkel, Berlin", "angela merkel Berlin"), "not translated"),
        (("this is another script", "这是另一种文字的句子"), "target in another script"),
        (("one two three four five six", "zu kurz"), "lengths do not match"),
        (("1234 5678 90 12 34 x", "1234 5678 9012 3 4 y"), "mostly not letters"),
        (("The old teacher repairs the machine.", "Der Lehrer repariert sie, die Maschine"), "repeated"),
        (("We have been to the evaluation", "Wir waren in der Auswertung dabei"), OVERLAP),
        (("So. We have been there, all of us.", "Also. Wir waren in der Auswertung dabei! Ja."), OVERLAP),
    ],
)
def test_what_is_left_out_is_counted(tmp_path: Path, pair: tuple[str, str], reason: str) -> None:
    corpus = read_corpus(*write(tmp_path, GOOD, pair), "de", ["Wir waren in der Auswertung dabei!"])
    assert [kept.number for kept in corpus.pairs] == [1]
    assert corpus.left_out == Counter({reason: 1})


def test_line_numbers_and_hashes_stay(tmp_path: Path) -> None:
    corpus = read_corpus(*write(tmp_path, ("", ""), GOOD), "de")
    assert corpus.pairs[0].number == 2
    assert corpus.pairs[0].words == tuple(GOOD[0].split())
    assert all(len(digest) == 16 for digest in corpus.hashes)
    assert corpus.hashes[0] != corpus.hashes[1]


def test_white_space_is_folded_and_marks_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes("\ufeffa\u00a0 b\t\r\nc\n".encode())
    assert read_lines(path) == ["a b", "c"]
    assert normalised("Don't — STOP, 老师!") == "dontstop老师"


def test_unusable_files_say_what_to_do(tmp_path: Path) -> None:
    source, target = write(tmp_path, GOOD)
    target.write_text("a\nb\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"has 1 lines and .* has 2"):
        read_corpus(source, target, "de")
    target.write_bytes("gut\nschön\n".encode("latin1"))
    with pytest.raises(UserError, match=r"not UTF-8 \(line 2\); convert it"):
        read_corpus(source, target, "de")
    with pytest.raises(UserError, match=r"Cannot read .*nothing"):
        read_corpus(tmp_path / "nothing", target, "de")
    source.write_text("", encoding="utf-8")
    target.write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=r"no usable sentence pair \(the files are empty\)"):
        read_corpus(source, target, "de")
    with pytest.raises(UserError, match=r"no usable sentence pair \(1 shorter than 3 words\)"):
        read_corpus(*write(tmp_path, ("so what", "na und")), "de")


PAIR = SentencePair(2, "the old teacher repairs it.", "L'anziano maestro lo ripara.")


def test_pharaoh_links_count_words(tmp_path: Path) -> None:
    path = tmp_path / "links"
    path.write_text("0-0\n1-0 2-1 3?3 4p2\n", encoding="utf-8")
    assert read_pharaoh(path, 2)[1] == {(1, 0), (2, 1), (3, 3), (4, 2)}
    (links,) = given(path, [PAIR], 2)
    aligned = to_aligned(PAIR, links)
    assert aligned.words == ("the", "old", "teacher", "repairs", "it.")
    assert [aligned.target[a:b] for a, b in aligned.spans] == ["L'anziano", "maestro", "lo", "ripara."]
    assert aligned.sources == (frozenset({1}), frozenset({2}), frozenset({4}), frozenset({3}))
    assert coverage(aligned) == 1.0


def test_pharaoh_links_count_characters_in_chinese(tmp_path: Path) -> None:
    pair = SentencePair(1, "the teacher smiles today", "老师 今天笑。")
    path = tmp_path / "links"
    path.write_text("1-0 1-1 3-2 3-3 2-4\n", encoding="utf-8")
    aligned = to_aligned(pair, given(path, [pair], 1)[0])
    assert [aligned.target[a:b] for a, b in aligned.spans] == list("老师今天笑。")
    assert [sorted(s) for s in aligned.sources] == [[1], [1], [3], [3], [2], []]
    assert coverage(aligned) == pytest.approx(5 / 6)


def test_spans_may_cover_several_words(tmp_path: Path) -> None:
    path = tmp_path / "links.json"
    path.write_text(json.dumps([[], [[4, 15, 0, 17], [16, 23, 21, 27]]]), encoding="utf-8")
    aligned = to_aligned(PAIR, given(path, [PAIR], 2)[0])
    assert [sorted(s) for s in aligned.sources] == [[1, 2], [1, 2], [], [3]]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a", "0-0\n", "has 1 lines of alignments for 2 sentence pairs"),
        ("a", "\n0 1\n", "line 2: alignments are written i-j with spaces between, not '0 1'"),
        ("a", "\n9-0\n", "line 2: link 9-0 is outside 5 source and 4 target words"),
        ("a.json", "[[]]", "has 1 entries for 2 lines"),
        ("a.json", "[[], [[0, 99, 0, 1]]]", "line 2: a span lies outside its sentence"),
        ("a.json", "[[], [[0, 1]]]", "does not hold alignments"),
        ("a.json", "{", "does not hold alignments"),
    ],
)
def test_broken_alignments_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(message)):
        given(path, [PAIR], 2)


def test_an_absent_aligner_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"pip install eflomal.*--alignments FILE"):
        eflomal([PAIR])


@needs_eflomal
@pytest.mark.slow
@pytest.mark.parametrize(("lang", "precision", "found_share"), [("de", 0.85, 0.7), ("zh", 0.85, 0.3)])
def test_eflomal_agrees_with_gold(tmp_path: Path, lang: str, precision: float, found_share: float) -> None:
    write_corpus(tmp_path, lang, 300, seed=11)
    corpus = read_corpus(tmp_path / f"en-{lang}.en", tmp_path / f"en-{lang}.{lang}", lang)
    true_links = given(tmp_path / f"en-{lang}.json", corpus.pairs, corpus.n_lines)
    gold = list(map(to_aligned, corpus.pairs, true_links))
    found = list(map(to_aligned, corpus.pairs, eflomal(corpus.pairs)))
    right = said = wanted = 0
    for one, other in zip(gold, found, strict=True):
        for true, guessed in zip(one.sources, other.sources, strict=True):
            right, said, wanted = right + len(true & guessed), said + len(guessed), wanted + bool(true)
    assert right / said > precision
    assert right / wanted > found_share
