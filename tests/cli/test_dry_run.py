"""Presets of the full models, ``--dry-run`` and what is said where they cannot run. No weights, no GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.catalogue import CATALOGUE
from agent.cli.main import simulstream
from agent.config import from_tree
from agent.errors import UserError
from agent.mt.policy.alignatt import AlignAtt
from agent.mt.policy.paper import Paper
from agent.run import missing, profiles
from agent.run.profiles import preset_names
from agent.run.settings import Options, resolve
from agent.weights import named_models

SPEECH = ["asr.backend=transformers", "asr.aligner.backend=transformers"]
FULL = [name for name in preset_names() if "-a40" in name]
OURS = ["--agent", "agent.AlignAttAgent"]


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without GPU and weights. Its hub cache."""
    monkeypatch.setattr(missing, "has_gpu", lambda: False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_every_direction_and_regime_has_a_preset_of_ours_and_the_published_one() -> None:
    pairs = [f"en{target}-{regime}-a40" for target in ("de", "it", "zh") for regime in ("low", "high")]
    assert sorted(FULL) == sorted([*pairs, *(f"{pair}-paper" for pair in pairs)])


@pytest.mark.parametrize("name", FULL)
def test_a_preset_of_the_full_models_is_the_published_operating_point(name: str) -> None:
    config = from_tree(profiles.parse(name).tree())
    published = name.endswith("-paper")
    assert config.speech_chunk_size == (0.85 if config.regime == "low" else 1.5)
    assert (config.mt.max_draft_tokens, config.mt.n_heads, config.session.first_draft_s) == (16, 8, 2.0)
    assert config.policy == (Paper(margin_tokens=1, median_width=7) if published else AlignAtt(margin_words=1))
    assert config.session.hold_back_s == (0.0 if published else 0.25)
    pinned = {(entry.repository, entry.revision) for entry in CATALOGUE}
    assert {(model.model, model.revision) for model in named_models(config)} <= pinned


@pytest.mark.parametrize("name", FULL)
def test_a_dry_run_shows_models_memory_prompt_and_heads(
    name: str, bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulstream([*OURS, "--preset", name, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    target = {"de": "German", "it": "Italian", "zh": "Chinese"}[name[2:4]]
    for part in (
        "Qwen/Qwen3-ASR-1.7B-hf@bcd2b5b7",
        "Qwen/Qwen3-ForcedAligner-0.6B-hf@c07281df",
        "google/gemma-4-E4B-it@83df0a88",
        "Memory plan, GPU of 48 GB",
        "28.8 GB reserved by vLLM for weights and KV cache",
        "left                4.8 GB",
        f"Answer in {target} with",
        "⟦we show how the first words⟧",
        f"gemma-4-E4B-it-en-{name[2:4]}.json#",
        "8 heads, rows by the convention 'own'",
        "missing: no CUDA GPU",
    ):
        assert part in shown, part
    assert not bare.exists()


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        (SPEECH, ["28.8 GB reserved by vLLM", "left                15.1 GB", ": make vllm"]),
        ([*SPEECH, "mt.backend=transformers"], ["16.0 GB", "left                27.9 GB"]),
        (["mt.vllm.gpu_memory_utilization=0.8"], ["38.4 GB reserved", "left                -4.8 GB", "too little"]),
        (["mt.vllm.kv_cache_gib=8"], ["24.6 GB reserved", "left                9.0 GB"]),
        ([], ["9.6 GB reserved", "4.8 GB reserved", "left                4.8 GB"]),
    ],
)
def test_what_vllm_reserves_is_in_the_memory_plan(
    changes: list[str],
    shown: list[str],
    bare: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(missing, "has_vllm", lambda: False)
    assert simulstream([*OURS, "--preset", "ende-low-a40", "--dry-run", "--set", "regime=low", *changes]) == 0
    printed = capsys.readouterr().out
    assert [part for part in shown if part not in printed] == []


def test_without_a_gpu_main_memory_is_planned(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulstream([*OURS, "--preset", "enzh-high", "--profile", "cpu", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    for part in ("Memory plan, main memory", "8.2 GB of weights, 1.6 GB of KV cache", "28.5 GB and what is not known"):
        assert part in shown, part
    assert "CUDA" not in shown
    settings = resolve(Options(preset="enzh-high", profile="cpu", assignments=("mt.vllm.kv_cache_gib=3",)))
    assert settings.preset == "enzh-high-cpu"
    assert (settings.tree["mt"]["device"], settings.tree["mt"]["vllm"]["kv_cache_gib"]) == ("cpu", 3)


def test_the_dry_run_of_the_embedded_model_shows_its_own_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulstream([*OURS, "--preset", "ende-low", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "⟦we show how the first words⟧" in shown.replace("⟦ ", "⟦")
    assert "source span" in shown
    assert "Memory plan" not in shown
    assert "nothing is missing" in shown


def test_without_gpu_and_weights_three_lines_say_what_is_missing(
    bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [*OURS, "--preset", "ende-high", "--profile", "a40", "--output", str(tmp_path / "run")]
    assert simulstream(asked) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.startswith("simulstream: ende-high-a40 cannot run here: no CUDA GPU; ")
    assert "no weights of Qwen/Qwen3-ASR-1.7B-hf@bcd2b5b7 (4.1 GB); " in first
    assert "alignatt models download --preset ende-high-a40" in second
    assert third.startswith("Without it: simulstream --agent agent.AlignAttAgent --tgt-lang de --regime high ")
    assert not (tmp_path / "run").exists()
    assert simulstream(["serve", *OURS, "--preset", "ende-high", "--profile", "a40"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_models_that_are_here_are_not_missing(bare: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).touch()
    changes = [f"{key}={tmp_path}" for key in ("asr.model", "asr.aligner.model", "mt.model")]
    changes += ["mt.device=cpu", "mt.backend=transformers", *SPEECH]
    missing.check(resolve(Options(preset="ende-low-a40", assignments=tuple(changes))))


def test_a_profile_names_the_preset() -> None:
    named = {("ende-low", "a40"): "ende-low-a40", ("enit-high-a40-paper", "h100"): "enit-high-h100-paper"}
    for (preset, profile), expected in named.items():
        assert resolve(Options(preset=preset, profile=profile)).preset == expected
    settings = resolve(Options(profile="a40", target_lang="it", regime="high"))
    assert (settings.preset, settings.profile, settings.tree["speech_chunk_size"]) == ("enit-high-a40", "a40", 1.5)
    with pytest.raises(UserError, match="Did you mean 'a40'"):
        resolve(Options(profile="a4"))
    with pytest.raises(UserError, match="leave it out with --config"):
        resolve(Options(profile="a40", config=Path("mine.yaml")))
