"""Every preset of the full models, run end to end and scored with small models in their place."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import soundfile
from short_talk import write_talk

from agent.asr.qwen3 import engine
from agent.cli.main import alignatt, simulstream
from agent.config import from_tree
from agent.run.profiles import parse, preset_names

ON_CPU = ("asr.backend=transformers", "asr.aligner.backend=transformers")
FULL = [name for name in preset_names() if "-a40" in name]


@pytest.fixture(scope="module")
def small(qwen3: Path) -> list[str]:
    """What stands in for weights of several GB: random speech models, the embedded translation model."""
    speech = [f"asr.model={qwen3 / 'asr-hf'}", f"asr.aligner.model={qwen3 / 'aligner-hf'}"]
    unpinned = ["asr.revision=", "asr.aligner.revision=", "mt.revision="]
    translation = ["mt.model=demo/model", "mt.head_set=demo", "mt.device=cpu", "mt.dtype=float32"]
    return [*speech, *unpinned, *translation, "mt.backend=transformers", *ON_CPU]


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_talk(tmp_path_factory.mktemp("talk"))


@pytest.mark.slow  # twelve runs of three models
@pytest.mark.parametrize("name", FULL)
def test_a_preset_runs_and_is_scored_with_small_models(
    name: str, small: list[str], talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the random recogniser hears is nonsense; it is translated."""
    monkeypatch.setattr(engine, "MIN_NEW_TOKENS", 8)  # random models find no end
    monkeypatch.setattr(engine, "TOKENS_PER_S", 1)
    run = tmp_path / "run"
    asked = ["--agent", "agent.AlignAttAgent", "--preset", name, "--source", str(talk), "--output", str(run)]
    assert simulstream([*asked, "--set", *small]) == 0
    lines = [json.loads(line) for line in (run / "trace.jsonl").read_text(encoding="utf-8").splitlines()]
    config = from_tree(parse(name).tree())
    assert len(lines) == math.ceil(soundfile.info(talk).duration / config.speech_chunk_size) + 1
    for stage in ("vad", "asr", "align"):
        assert sum(line["stages_s"][stage] for line in lines) > 0, stage
    assert any(line["committed"] for line in lines)
    assert any(record.get("n_drafted_tokens") for line in lines for record in line["steps"])
    assert "".join(line["accepted"] for line in lines).strip()
    for line in lines:
        assert sum(line["stages_s"].values()) == pytest.approx(line["computation_s"], rel=0.05, abs=1e-5)
    assert alignatt(["score", str(run), "--references", str(talk.parent), "--quiet"]) == 0
    scores: dict[str, Any] = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    assert (scores["direction"], scores["policy"]) == (f"en-{name[2:4]}", config.policy_name)
    assert scores["regime"]["name"] == config.regime
    assert scores["audio_s"] == pytest.approx(soundfile.info(talk).duration)
    assert 0 <= scores["chrf"] <= 100
    assert 0 < scores["cu_long_yaal_ms"] < scores["ca_long_yaal_ms"]
    assert scores["signature"].startswith("omnisteval:")
