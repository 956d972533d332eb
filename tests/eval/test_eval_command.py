"""The commands as typed, tables, and the parts that guard downloads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from eval_runs import alignatt, german_talks, offline_run, write_run

from agent.paths import PROJECT
from eval import table


def test_score_prints_a_plain_table_with_its_signature(
    tmp_path: Path, references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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


def test_compare_sorts_by_latency(tmp_path: Path, references: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow = write_run(tmp_path / "a-slow", {n: [(t + 1, c, w) for t, c, w in s] for n, s in german_talks().items()})
    fast = write_run(tmp_path / "b-fast", german_talks())
    offline_run(tmp_path, "ende-offline")
    for run in (slow, fast):
        alignatt("score", run, "--references", references, "--quiet")
    assert alignatt("compare", slow, fast) == 0
    lines = capsys.readouterr().out.splitlines()[:6]
    assert [line.split()[0] for line in lines] == ["run", "b-fast", "a-slow", "offline", "signature:", "signature:"]


def test_terminal_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    table.show([table.offline_row({"bleu": 12.345, "chrf": 50.0})], ["one|two"])
    out = capsys.readouterr().out
    assert "12.35" in out or "12.34" in out
    assert "signature: one|two" in out


def make(*words: str) -> str:
    """What make prints, run in the project's folder."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "TALKS"))}
    done = subprocess.run(["make", *words], cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_make_demo() -> None:
    plan = make("-n", "demo", "TALKS=a.flac b.flac")
    assert (
        "--tgt-lang de --quiet --source a.flac b.flac --preset ende-low --profile demo --set policy.name=offline"
        in plan
    )
    assert "--preset ende-high --profile demo  --output out/demo/ende-high --force" in plan
    assert "--offline out/demo/ende-offline --talks a,b --quiet" in plan
    assert "alignatt compare out/demo/ende-low out/demo/ende-high --resample none --examples 3" in plan


def test_make_eval_on_full_models() -> None:
    plan = make("-n", "eval-enzh-high", "PROFILE=a40", "TALKS=dev", "SEGMENTS=s.yaml", "REFERENCES=refs", "SET=a.b=1")
    assert "--tgt-lang zh --quiet --source dev --preset enzh-high --profile a40 --set a.b=1 --output" in plan
    assert "--segments s.yaml --references refs --offline out/a40/enzh-offline" in plan
    assert "--talks" not in plan
    assert "mt.backend=transformers asr.backend=transformers asr.aligner.backend=transformers --preset" in make(
        "-n", "eval-ende-low", "PROFILE=a40", "ENGINE=transformers", "TALKS=dev"
    )


def test_the_offline_yardstick_is_of_the_models_that_set_names() -> None:
    given = ["eval-ende-low", "PROFILE=a40", "TALKS=dev", "SEGMENTS=s.yaml", "REFERENCES=refs"]
    plan = make("-n", *given, "SET=mt.model=FOLDER policy.k=2")
    assert "--set policy.name=offline mt.model=FOLDER --output out/a40/ende-offline" in plan
    assert 'echo "dev mt.model=FOLDER" > out/a40/ende-offline.talks' in plan
    assert "policy.name=offline  --output" in make("-n", *given, "SET=asr.context='two words'")


def test_every_target_is_listed() -> None:
    listed = make()
    for target in ("setup", "demo", "check", "test", "lint", "eval-ende-low", "comet-env", "clean"):
        assert f"\n{target} " in listed
