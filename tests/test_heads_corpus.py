"""Parallel text: what is read, how it is split, what is left out and why, and what is refused."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from agent.errors import UserError
from heads.corpus import (
    OVERLAP,
    command_segmenter,
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


def test_a_segmenter_joins_characters_into_words() -> None:
    text = "老师修理GPT机器。"
    spans = piece_spans(text, lambda t: ["老师", "修理", "GPT", "机器", "。"])
    assert texts(text, spans) == ["老师", "修理", "GPT", "机器"]


def test_a_segmenter_is_a_program() -> None:
    script = "import sys\nfor line in sys.stdin: print(' '.join(line[i:i+2] for i in range(0, len(line.strip()), 2)))"
    segment = command_segmenter(f'{sys.executable} -c "{script}"', ["老师修理", "机器"])
    assert segment("老师修理") == ["老师", "修理"]
    with pytest.raises(UserError, match=r"failed \(1 lines for 2\)"):
        command_segmenter("head -n 1", ["老师", "机器"])
    with pytest.raises(UserError, match="changes the text: '老师' became '师'"):
        command_segmenter("sed s/老//", ["老师"])


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
