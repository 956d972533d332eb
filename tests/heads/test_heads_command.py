"""``alignatt heads``: calibrate on the embedded model, show, check, and what is refused."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from planted import needs_eflomal
from tiny import save_model

from agent.cli.main import alignatt
from agent.mt.head_sets import SETS, load, save
from agent.paths import PROJECT
from demo.make.calibrate import write_corpus
from heads.score import AlignedPair, run_batch
from heads.text import with_context

pytestmark = pytest.mark.usefixtures("wide")


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.slow
def test_calibrating_on_given_alignments_finds_the_shipped_heads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path, "de", 40, seed=5)
    out = tmp_path / "sets" / "mine.json"
    corpus = [str(tmp_path / f"en-de.{lang}") for lang in ("en", "de")]
    arguments = ["--corpus", *corpus, "--alignments", str(tmp_path / "en-de.json"), "--context", "--batch", "16"]
    assert alignatt(["heads", "calibrate", "--tgt-lang", "de", *arguments, "-o", str(out)]) == 0
    mine, shipped = load(out), load(SETS / "demo-en-de.json")
    assert mine.convention == "predicting"
    assert mine.layout == shipped.layout
    assert mine.scores["predicting"][0].head == shipped.scores["predicting"][0].head
    best = mine.scores["predicting"][0]
    assert best.low < best.score < best.high
    assert 0.5 < best.not_heard <= 1.0
    assert best.published < best.score
    assert mine.provenance["corpus"]["files"] == ["en-de.en", "en-de.de"]
    assert mine.provenance["aligner"]["name"] == "given, en-de.json"
    assert "40 lines" not in capsys.readouterr().err
    assert alignatt(["heads", "check", "--tgt-lang", "de", "--set", f"mt.head_set={out}"]) == 0
    assert "6 layers of 4 heads, en-de" in capsys.readouterr().out


@pytest.mark.slow
@needs_eflomal
def test_an_interrupted_calibration_goes_on_with_the_same_alignments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path, "de", 12, seed=5)
    corpus = [str(tmp_path / f"en-de.{lang}") for lang in ("en", "de")]
    command = ["heads", "calibrate", "--corpus", *corpus, "--work", str(tmp_path / "work"), "-o", str(tmp_path / "x")]
    passes: list[int] = []

    def stops(model: Any, batch: Any, heads: Any) -> Any:
        if passes:
            raise KeyboardInterrupt
        passes.append(len(batch))
        return run_batch(model, batch, heads)

    monkeypatch.setattr("heads.score.run_batch", stops)
    assert alignatt(command) == 130
    assert not (tmp_path / "x").exists()
    (links,) = (tmp_path / "work").glob("eflomal-*.json")
    before = links.read_bytes()
    monkeypatch.setattr("heads.score.run_batch", lambda m, b, h: (passes.append(len(b)), run_batch(m, b, h))[1])
    assert alignatt(command) == 0
    assert links.read_bytes() == before
    (n_pairs,) = re.findall(r"(\d+) pairs, rows and choice of heads", capsys.readouterr().out)
    assert sum(passes) <= 2 * int(n_pairs)  # each whole and cut short, none twice


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "."], "Cannot write .: name a file"),
        (["-o", "pyproject.toml/x.json"], "Cannot write pyproject.toml/x.json"),
        (["-o", "out/x.json", "--work", "pyproject.toml"], "Cannot write pyproject.toml/signature"),
        (["-o", "out/x.json", "--batch", "0"], "argument --batch: must be a whole number from 1, not '0'"),
        (["-o", "out/x.json", "--max-pairs", "-4"], "argument --max-pairs: must be a whole number from 1, not '-4'"),
    ],
)
def test_what_cannot_end_well_is_refused_first(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = alignatt(["heads", "calibrate", "--corpus", "pyproject.toml", "pyproject.toml", *options])
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    assert code == 2
    assert message in capsys.readouterr().err


def test_joined_lines_are_used_once() -> None:
    pairs = [(n, AlignedPair((f"s{n}",), f"t{n}", ((0, 2),), (frozenset({0}),))) for n in range(1, 10)]
    pairs += [(n, AlignedPair((f"s{n}",), f"t{n}", ((0, 2),), (frozenset({0}),))) for n in range(20, 400, 2)]
    joined = with_context(pairs, "de")
    assert [word for pair in joined for word in pair.words] == [pair.words[0] for _, pair in pairs]
    lengths = [len(pair.words) for pair in joined]
    assert set(lengths[:6]) == {1, 2}
    assert set(lengths[9:]) == {1}  # their neighbours were left out
    double = next(pair for pair in joined if len(pair.words) == 2)
    assert double.target == " ".join(word.replace("s", "t") for word in double.words)
    assert double.spans == ((0, 2), (3, 5))
    assert double.sources == (frozenset({0}), frozenset({1}))


def test_evaluation_sentences_are_left_out_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = {lang: (PROJECT / f"demo/talks/ref.{lang}.txt").read_text().splitlines()[:4] for lang in ("en", "de")}
    write_corpus(tmp_path, "de", 6, seed=5)
    for lang in ("en", "de"):
        with (tmp_path / f"en-de.{lang}").open("a", encoding="utf-8") as file:
            file.write("\n".join(lines[lang]) + "\n")
    (tmp_path / "links").write_text("\n".join("0-0 1-1 2-2" for _ in range(10)) + "\n", encoding="utf-8")
    corpus = [str(tmp_path / "en-de.en"), str(tmp_path / "en-de.de")]
    arguments = ["--corpus", *corpus, "--alignments", str(tmp_path / "links")]
    assert alignatt(["heads", "calibrate", *arguments, "-o", str(tmp_path / "x.json")]) == 2
    said = capsys.readouterr()
    assert "warning: 4 sentence pairs are in the evaluation data" in said.out
    assert "at least 10 aligned sentence pairs" in said.err


def test_a_shipped_set_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert alignatt(["heads", "show", "demo-en-de", "--rows", "2"]) == 0
    said = capsys.readouterr().out
    assert "demo/model en-de" in said
    assert "uses predicting rows of 8 heads, best by TS: 4.0, 4.3" in said
    assert re.search(r"4\.0 │ 0\.80[45] │", said)
    assert re.search(r"\n   4  80 58 3[23] 69\n", said)
    assert alignatt(["heads", "show", "demo-en-fr"]) == 2
    assert "No head set 'demo-en-fr': give a JSON file or one of MiLMMT" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_map_is_drawn(tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra heads)")
    plot = tmp_path / "maps" / f"x{suffix}"
    assert alignatt(["heads", "show", "demo-en-it", "--plot", str(plot)]) == 0
    assert plot.read_bytes()[:4] == {".svg": b"<?xm", ".png": b"\x89PNG"}[suffix]
    assert alignatt(["heads", "show", "demo-en-it", "--plot", str(tmp_path / "x.bmp")]) == 2
    assert "--plot writes .png, .svg, .pdf, not 'x.bmp'" in capsys.readouterr().err


def test_check_refuses_what_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shipped = load(SETS / "demo-en-de.json")
    target = tmp_path / "set.json"
    for change, message in (
        ({"n_layers": 12}, "is of a model with 12 layers of 4 heads; demo/model has 6 of 4"),
        ({"direction": "en-it"}, "is for en-it, not en-de"),
        ({"layout": "0" * 16}, "calibrated under another prompt layout"),
    ):
        save(target, dataclasses.replace(shipped, **change))  # type: ignore[arg-type]
        assert alignatt(["heads", "check", "--set", f"mt.head_set={target}"]) == 2
        assert message in capsys.readouterr().err
    save(target, dataclasses.replace(shipped, layout="", model="another"))
    assert alignatt(["heads", "check", "--set", f"mt.head_set={target}"]) == 0
    said = capsys.readouterr().out
    assert "a prompt layout that the set does not name" in said
    assert "It was calibrated on another" in said


def test_check_reads_no_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    shutil.copy(SETS / "demo-en-de.json", tmp_path / "set.json")
    arguments = ["--set", f"mt.model={tmp_path / 'model'}", f"mt.head_set={tmp_path / 'set.json'}"]
    assert alignatt(["heads", "check", *arguments]) == 0
    assert "fits" in capsys.readouterr().out
    assert alignatt(["heads", "check", "--set", f"mt.model={tmp_path / 'nothing'}"]) == 2
    assert "Cannot load mt.model" in capsys.readouterr().err
