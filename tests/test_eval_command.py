"""The commands as typed, tables, and the parts that guard downloads."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_eval_score import german_talks, offline_run, write_references, write_run

from agent.errors import UserError
from eval import comet, table
from eval.command import add_parsers


def alignatt(*words: str | Path) -> int:
    parser = argparse.ArgumentParser(prog="alignatt")
    add_parsers(parser.add_subparsers(required=True))
    args = parser.parse_args([str(word) for word in words])
    code: int = args.run(args)
    return code


def test_score_prints_a_plain_table_with_its_signature(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    references = write_references(tmp_path / "refs")
    run = write_run(tmp_path / "ende-low", german_talks())
    offline_run(tmp_path, "ende-offline")
    assert alignatt("score", run, "--references", references, "--talks", "one,two") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["run", "policy", "BLEU", "chrF", "CU", "ms", "CA", "ms", "LAAL", "ms", "RTF",
                                "/offline", "regime"]  # fmt: skip
    assert lines[1].split()[:7] == ["ende-low", "alignatt", "85.34", "89.49", "1183", "1350", "1309"]
    assert lines[1].endswith("85.3%  low met")
    assert lines[2].split()[:4] == ["offline", "offline", "100.00", "100.00"]
    assert lines[3].startswith("signature: omnisteval:0.1.10|")
    assert alignatt("score", run, "--segments", references / "audio-segments.yaml", "--quiet") == 0
    assert capsys.readouterr().out == ""


def test_compare_sorts_by_latency(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    references = write_references(tmp_path / "refs")
    slow = write_run(tmp_path / "a-slow", {n: [(t + 1, c, w) for t, c, w in s] for n, s in german_talks().items()})
    fast = write_run(tmp_path / "b-fast", german_talks())
    offline_run(tmp_path, "ende-offline")
    for run in (slow, fast):
        alignatt("score", run, "--references", references, "--quiet")
    assert alignatt("compare", slow, fast) == 0
    lines = capsys.readouterr().out.splitlines()[:6]
    assert [line.split()[0] for line in lines] == ["run", "b-fast", "a-slow", "offline", "signature:", "signature:"]


def test_compare_wants_scores(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no scores\.json"):
        alignatt("compare", write_run(tmp_path / "run", german_talks()))


def test_terminal_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    table.show([table.offline_row({"bleu": 12.345, "chrf": 50.0})], ["one|two"])
    out = capsys.readouterr().out
    assert "12.35" in out or "12.34" in out
    assert "signature: one|two" in out


def test_comet_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    references = write_references(tmp_path / "refs")
    run = write_run(tmp_path / "run", german_talks())
    monkeypatch.setattr(comet, "ENVIRONMENT", tmp_path / "venv")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(UserError, match="make comet-env"):
        alignatt("score", run, "--references", references, "--comet")
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").touch()
    monkeypatch.setenv("COMET", "1")
    with pytest.raises(UserError, match="hf download Unbabel/XCOMET-XL"):
        alignatt("score", run, "--references", references)


FAKE_PYTHON = """#!/bin/sh
case "$*" in
  *"omnisteval.cli longform"*"--word_level --lang de"*"--comet --comet_model Unbabel/XCOMET-XL"*) ;;
  *) echo "unexpected: $*" >&2; exit 3;;
esac
for last in "$@"; do :; done
mkdir -p "$last" && printf 'metric\\tvalue\\nBLEU\\t1.0\\nCOMET\\t0.8754\\n' > "$last/scores.tsv"
"""


def test_comet_runs_in_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    references = write_references(tmp_path / "refs")
    run = write_run(tmp_path / "run", german_talks())
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    for name, file in (
        ("models--Unbabel--XCOMET-XL", "checkpoints/model.ckpt"),
        ("models--facebook--xlm-roberta-xl", "config.json"),
    ):
        path = tmp_path / "hub" / name / "snapshots" / "0" / file
        path.parent.mkdir(parents=True)
        path.touch()
    monkeypatch.setattr(comet, "ENVIRONMENT", tmp_path / "venv")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert alignatt("score", run, "--references", references, "--comet", "--quiet") == 0
    assert '"xcomet_xl": 0.8754' in (run / "scores.json").read_text(encoding="utf-8")


def test_comet_row_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "scores.tsv").write_text("metric\tvalue\nBLEU\t1.0\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match="0 COMET rows"):
        comet.read_comet(tmp_path / "scores.tsv")


def make(*words: str) -> str:
    """What make prints, run in the project's folder."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "TALKS"))}
    root = Path(__file__).parent.parent
    done = subprocess.run(["make", *words], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_make_demo() -> None:
    plan = make("-n", "demo", "TALKS=a.flac b.flac")
    assert "--tgt-lang de --source a.flac b.flac --preset ende-low --profile demo --set policy.name=offline" in plan
    assert "--preset ende-high --profile demo  --output out/demo/ende-high --force" in plan
    assert "--offline out/demo/ende-offline --talks a,b --quiet" in plan
    assert plan.rstrip().endswith("alignatt compare out/demo/ende-low out/demo/ende-high")


def test_make_eval_on_full_models() -> None:
    plan = make("-n", "eval-enzh-high", "PROFILE=a40", "TALKS=dev", "SEGMENTS=s.yaml", "REFERENCES=refs", "SET=a.b=1")
    assert (
        "--tgt-lang zh --source dev --preset enzh-high --profile a40 --set a.b=1 --output out/a40/enzh-high --force"
        in plan
    )
    assert "--segments s.yaml --references refs --offline out/a40/enzh-offline" in plan
    assert "--talks" not in plan
    assert "mt.engine=hf asr.qwen3.engine=hf --preset" in make(
        "-n", "eval-ende-low", "PROFILE=a40", "ENGINE=hf", "TALKS=dev"
    )


def test_every_target_is_listed() -> None:
    listed = make()
    for target in ("setup", "demo", "test", "lint", "eval-ende-low", "comet-env", "clean"):
        assert f"\n{target} " in listed
