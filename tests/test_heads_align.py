"""Word alignments: given ones are read as stated, eflomal's are compared with gold ones."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from agent.errors import UserError
from demo.make.calibrate import write_corpus
from heads import align
from heads.align import PROGRAM, coverage, eflomal, given, read_pharaoh, to_aligned
from heads.corpus import SentencePair, read_corpus

needs_eflomal = pytest.mark.skipif(
    not (Path(sys.executable).parent / PROGRAM).is_file() and shutil.which(PROGRAM) is None,
    reason="eflomal is not installed (extra heads)",
)
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
    with pytest.raises(UserError, match=r"pip install 'alignatt-agent\[heads\]'.*--alignments FILE"):
        eflomal([PAIR])


@needs_eflomal
@pytest.mark.slow
@pytest.mark.parametrize(
    ("lang", "how", "precision", "found_share"), [("de", "intersection", 0.85, 0.7), ("zh", "union", 0.7, 0.6)]
)
def test_eflomal_agrees_with_gold(
    tmp_path: Path, lang: str, how: align.Symmetrisation, precision: float, found_share: float
) -> None:
    write_corpus(tmp_path, lang, 300, seed=11)
    corpus = read_corpus(tmp_path / f"en-{lang}.en", tmp_path / f"en-{lang}.{lang}", lang)
    true_links = given(tmp_path / f"en-{lang}.json", corpus.pairs, corpus.n_lines)
    gold = list(map(to_aligned, corpus.pairs, true_links))
    found = list(map(to_aligned, corpus.pairs, eflomal(corpus.pairs, symmetrisation=how)))
    right = said = wanted = 0
    for one, other in zip(gold, found, strict=True):
        for true, guessed in zip(one.sources, other.sources, strict=True):
            right, said, wanted = right + len(true & guessed), said + len(guessed), wanted + bool(true)
    assert right / said > precision
    assert right / wanted > found_share
