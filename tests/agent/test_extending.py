"""The files that docs/extending.md shows, as a user's own: run, traced, scored, reported and swept by class path."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from short_talk import write_talk
from tiny import save_model

from agent.cli.main import alignatt, simulstream
from agent.paths import PROJECT

EXAMPLES = PROJECT / "docs" / "examples"
POLICY, RECOGNISER = "cautious_tail:CautiousTail", "metronome:Metronome"
MAX_LINES = 25
AGENT = """
from agent import AlignAttAgent


class Loud(AlignAttAgent):
    def tokens_to_string(self, tokens):
        return super().tokens_to_string(tokens).upper()
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder outside of the package with the user's files and a talk; the working directory."""
    for path in EXAMPLES.iterdir():
        shutil.copy(path, tmp_path)
    (tmp_path / "own_agent.py").write_text(AGENT, encoding="utf-8")
    write_talk(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("cautious_tail", "metronome", "own_agent"):
        sys.modules.pop(name, None)


def run(folder: Path, *options: str) -> list[dict[str, object]]:
    """A run of the talk; the lines of its trace."""
    assert simulstream(["--source", "talk.wav", "--output", "run", "--force", *options]) == 0
    return [json.loads(line) for line in (folder / "run" / "trace.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_files_are_short_and_stand_in_the_documentation() -> None:
    page = (EXAMPLES.parent / "extending.md").read_text(encoding="utf-8")
    for path in EXAMPLES.iterdir():
        text = path.read_text(encoding="utf-8")
        assert text in page, path.name
        assert sum(bool(line.strip()) for line in text.splitlines()) <= MAX_LINES


@pytest.mark.slow
def test_a_policy_of_ones_own_is_run_traced_scored_and_reported(own: Path) -> None:
    keys = ["--set", f"policy.name={POLICY}", "policy.hold_words=1", "policy.min_probability=0.9"]
    lines = run(own, *keys)
    reasons = {(line["stop_reason"], line["why"]) for line in lines}
    assert ("tail", "held: one of the last words of its draft") in reasons
    assert ("unlikely", "held: the model is not sure of it") in reasons
    config = yaml.safe_load((own / "run" / "config.yaml").read_text(encoding="utf-8"))
    assert config["policy"] == {"name": POLICY, "hold_words": 1, "min_probability": 0.9}
    assert alignatt(["score", "run", "--references", str(own), "--quiet"]) == 0
    assert json.loads((own / "run" / "scores.json").read_text(encoding="utf-8"))["policy"] == POLICY
    assert alignatt(["report", "run", "-o", "report.html", "--no-audio"]) == 0
    assert "held: the model is not sure of it" in (own / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_policy_of_ones_own_is_swept(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = {
        "directions": ["en-de"],
        "talks": {"mine": {"audio": ["talk.wav"], "references": str(own)}},
        "policies": {POLICY: {"policy.hold_words": [1, 3]}, "alignatt": [{"policy.margin_words": 2}]},
    }
    Path("sweep.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    assert alignatt(["sweep", "sweep.yaml", "--output", "swept"]) == 0
    assert POLICY in capsys.readouterr().out
    assert len(list(Path("swept/results").glob("*.json"))) == 3


def test_a_recogniser_of_ones_own_is_heard(own: Path) -> None:
    lines = run(own, "--set", f"asr.recogniser={RECOGNISER}", "asr.word_s=0.4")
    assert next(line["source"] for line in lines if line["source"]) == ["Last"]
    assert "".join(str(line["accepted"]) for line in lines).endswith(" die Maschine repariert.")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "language"), [("my_model", "de"), ("french", "fr")])
def test_a_model_and_a_direction_of_ones_own(own: Path, name: str, language: str) -> None:
    save_model(own / "my-model")
    lines = run(own, "--config", f"{name}.yaml")
    assert {line["language"] for line in lines} == {language}
    assert any(record.get("n_drafted_tokens") for line in lines for record in line["steps"])
    if language == "de":
        return
    shutil.copy("ref.de.txt", "ref.fr.txt")
    assert alignatt(["score", "run", "--references", str(own), "--quiet"]) == 0
    assert "|unit:word|bleu:13a|" in json.loads(Path("run/scores.json").read_text(encoding="utf-8"))["signature"]


def test_a_subclass_of_the_agent_is_ours(own: Path) -> None:
    lines = run(own, "--agent", "own_agent.Loud", "--set", "policy.margin_words=1")
    assert any(line["accepted"] for line in lines)
    assert alignatt(["score", "run", "--references", str(own), "--quiet"]) == 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("policy.name=cautious_tail:CautiousTale", "'cautious_tail' has no class 'CautiousTale'. Did you mean"),
        ("policy.name=nothing:Here", "cannot import 'nothing'"),
        ("policy.name=metronome:Metronome", "is no subclass of agent.mt.policy.contract.Policy"),
        ("asr.recogniser=cautious_tail:CautiousTail", "is no subclass of agent.asr.contract.RecogniserConfig"),
    ],
)
def test_what_is_no_plug_in_is_named(own: Path, setting: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulstream(["--source", "talk.wav", "--dry-run", "--set", setting]) == 2
    assert message in capsys.readouterr().err
    assert simulstream(["--dry-run", "--set", f"policy.name={POLICY}", "policy.hold_words=-1"]) == 2
    assert "'policy.hold_words' must be at least 0, not -1" in capsys.readouterr().err
