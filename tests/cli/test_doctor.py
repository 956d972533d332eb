"""``alignatt doctor``: one line a finding, exit code 2 when something cannot work."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from agent.cli import doctor
from agent.cli.main import alignatt
from agent.config import AgentConfig
from agent.mt.attention import AttentionCall
from agent.mt.config import MtConfig, VllmConfig
from agent.run import missing
from vllm_rows import vllm_internals


@pytest.fixture
def examined(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, dict[str, tuple[str, str]]]]:
    """Runs the command; exit code and, by what was examined, state and text."""

    def run(*arguments: str, **keys: Any) -> tuple[int, dict[str, tuple[str, str]]]:
        keys = {"mt.model": tiny_model, "mt.head_set": tiny_model / "heads-de.json", "mt.device": "cpu", **keys}
        code = alignatt(["doctor", "--set", *(f"{key}={value}" for key, value in keys.items()), *arguments])
        lines = capsys.readouterr().out.splitlines()
        return code, {line[5:17].strip(): (line[:5].strip(), line[17:]) for line in lines}

    return run


def test_a_working_configuration_passes_on_one_screen(examined: Any) -> None:
    code, findings = examined("--self-test")
    assert code == 0
    assert len(findings) <= 12
    assert "6 layers of 4 heads" in findings["model"][1]
    assert "5.1 2.0 (predicting)" in findings["heads"][1]
    assert findings["self-test"][0] == "ok"
    assert "same peak in 100%" in findings["self-test"][1]


def test_rows_that_are_not_the_models_own_fail(examined: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = AttentionCall.weights
    monkeypatch.setattr(AttentionCall, "weights", lambda *values: weights(*values).roll(1, dims=-1))
    code, findings = examined("--self-test")
    assert code == 2
    assert findings["self-test"][0] == "FAIL"


@pytest.mark.parametrize(
    ("keys", "what", "message"),
    [
        ({"mt.model": "./nothing"}, "model", "no weights of ./nothing: --set mt.model=FOLDER"),
        ({"mt.head_set": "nothing"}, "heads", "No head set"),
        ({"asr.model": "./nothing"}, "recogniser", "no weights of ./nothing"),
        ({"mt.prompt.system": "Speak."}, "heads", "ok"),
    ],
)
def test_what_is_missing_is_named_and_the_rest_is_still_examined(
    examined: Any, keys: dict[str, str], what: str, message: str
) -> None:
    code, findings = examined(**keys)
    assert message in " ".join(findings[what])
    assert code == (0 if message == "ok" else 2)
    assert findings["agent"][0] == "ok"


def test_a_model_that_does_not_fit_into_memory_fails(examined: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "free_memory_gib", lambda: 1e-6)
    assert examined()[1]["model"][0] == "FAIL"


@pytest.mark.parametrize(("free_gib", "state"), [(30, "FAIL"), (46, "ok")])
def test_what_vllm_reserves_of_a_gpu_has_to_be_free(
    tiny_model: Path, free_gib: int, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (free_gib * doctor.GIB, 48 * doctor.GIB))
    config = MtConfig(backend="vllm", model=str(tiny_model), vllm=VllmConfig(gpu_memory_utilization=0.9))
    found, text = doctor._model(AgentConfig(mt=config))
    assert found == state
    assert "vLLM takes 43.2" in text


def test_vllm_has_to_be_a_verified_version_where_it_is_used(examined: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing, "has_vllm", lambda: True)
    monkeypatch.setattr(vllm_internals, "vllm_version", lambda: "0.1.0")
    assert examined()[1]["vLLM"][0] == "note"
    code, findings = examined(**{"mt.backend": "vllm"})
    assert code == 2
    assert findings["vLLM"] == ("FAIL", "0.1.0 is installed, attention rows are verified: 0.25.1, 0.32.0")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_that_was_asked_for_fails(examined: Any) -> None:
    assert examined(**{"mt.device": "cuda"})[1]["GPU"][0] == "FAIL"


def test_a_profile_without_weights_says_what_to_fetch_and_asks_no_hub(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert alignatt(["doctor", "--profile", "a40"]) == 2
    said = capsys.readouterr().out
    assert len(said.splitlines()) <= 12
    assert re.search(r"FAIL GPU +no CUDA GPU", said)
    assert re.search(r"FAIL model +no weights of google/gemma-4-E4B-it@\w+ .* alignatt models download google/", said)
    assert re.search(r"FAIL recogniser .*Qwen3-ASR", said)
    assert re.search(r"FAIL recogniser .*Qwen3-ForcedAligner", said)
    assert "gemma-4-E4B-it-en-de.json" in said
