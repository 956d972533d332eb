"""Qwen3-ASR and its aligner on vLLM: prompt ids, text and times as on Transformers; what the prefix cache saves; both
beside a translation model, as three engines of one process.

What needs an engine runs in one subprocess (`qwen3_vllm_run`) for all tests.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from qwen3_sounds import chirp
from script import result_of

from agent.asr.qwen3.audio import MAX_AUDIO_S, prepare
from agent.asr.qwen3.checkpoint import open_checkpoint
from agent.asr.qwen3.vllm import ALIGNER_CLASS, EngineLimits, VllmGenerator, engine_arguments
from agent.config import from_tree, load, preset_path
from agent.errors import UserError
from agent.models import ModelCache
from agent.run.profiles import parse
from agent.vllm_engine import no_torchvision
from agent.weights import gpu_shares


def on_engine(test: Any) -> Any:
    """Marks of what needs the engines' results."""
    return pytest.mark.vllm(pytest.mark.slow(test))


@pytest.fixture(scope="module")
def results(qwen3: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One layout of each model: the recogniser in the original one, the aligner in Transformers'."""
    scratch = tmp_path_factory.mktemp("tmp")
    found = result_of("qwen3_vllm_run.py", qwen3, "asr", "aligner-hf", TMPDIR=str(scratch))
    found["left"] = [path.name for path in scratch.iterdir() if path.name != "torchinductor_root"]
    found["scores"] = json.loads((qwen3 / "out" / "scores.json").read_text(encoding="utf-8"))
    found["trace"] = (qwen3 / "out" / "trace.jsonl").read_text(encoding="utf-8").splitlines()
    return found


@on_engine
def test_text_equals_transformers(results: Any) -> None:
    for seconds, same_prompt, same_text, n_tokens, deviation in results["asr"]["text"]:
        assert same_prompt, seconds
        assert same_text, seconds
        assert n_tokens > 0
        assert deviation < 1e-3
    assert results["asr"]["together"]


@on_engine
def test_word_times_equal_transformers(results: Any) -> None:
    assert {language for language, *_ in results["align"]} == {"en", "de", "it", "zh"}
    for language, seconds, n_words, same in results["align"]:
        assert n_words > 5
        assert same, (language, seconds)


@on_engine
def test_finished_windows_come_from_the_prefix_cache(results: Any) -> None:
    tails = results["asr"]["tails"]
    # Two finished windows, 208 tokens, less what does not fill a block.
    assert tails["20.85 windows"][0] >= 208 - 128
    assert tails["20.85 whole"][0] < 32
    assert tails["20.85 windows"][1] == tails["20.85 whole"][1]


@on_engine
def test_a_preset_runs_on_three_engines_is_scored_and_leaves_nothing_behind(results: Any) -> None:
    assert results["codes"] == [0, 0]
    assert results["engines"] == [2, 3]
    steps = [json.loads(line) for line in results["trace"]]
    assert [step["now_s"] for step in steps] == sorted(step["now_s"] for step in steps)
    assert any(step["committed"] for step in steps)
    assert any(record.get("n_drafted_tokens") for step in steps for record in step["steps"])
    for name in ("vad", "asr", "align", "prefill", "decode", "replay", "policy"):
        assert sum(step["stages_s"][name] for step in steps) > 0, name
    assert all(
        sum(step["stages_s"].values()) == pytest.approx(step["computation_s"], rel=0.05, abs=1e-5) for step in steps
    )
    assert results["scores"]["direction"] == "en-de"
    assert results["scores"]["cu_long_yaal_ms"] > 0
    assert results["aligned alone"] == 2  # when the recogniser's engine had ended
    assert not [pid for pid in results["pids"] if psutil.pid_exists(pid)]
    assert results["left"] == []


@on_engine
def test_no_word_of_a_known_talk_is_lost_or_doubled_on_three_engines(results: Any) -> None:
    """The same for an hour: qwen3_soak.py."""
    known = results["known"]
    assert known["no chunk skipped"]
    assert known["n_chunks"] == known["n_requests"] == 30
    assert known["same words"]
    assert known["times in order"]
    assert known["n_committed"] == known["n_words"] > 80
    assert known["n_segments"] > 5
    assert known["longest_request_s"] <= 28.0
    assert min(known["n_transcribed"], known["n_aligned"], known["n_drafted_tokens"]) > 100
    assert known["n_target_characters"] > 300
    assert known["stages_off"] < 0.05


@on_engine
def test_an_engine_that_hangs_is_started_again_once(results: Any) -> None:
    n_starts, said = results["hang"]
    assert n_starts == 2
    assert said.startswith("The vLLM engine of the recogniser did not answer for 0.1 s again.")
    assert "asr.backend=transformers" in said


def test_each_engine_gets_its_share_and_either_layout_its_class(qwen3: Path) -> None:
    def arguments(name: str, kind: Any, **room: float) -> dict[str, Any]:
        return engine_arguments(open_checkpoint(str(qwen3 / name), "", kind, native_only=False), EngineLimits(**room))

    small = arguments("asr", "recogniser", cache_gib=0.25, gpu_share=0.3)
    assert small["kv_cache_memory_bytes"] == 2**28
    assert small["gpu_memory_utilization"] == 0.3
    assert small["enable_prefix_caching"]
    assert small["limit_mm_per_prompt"] == {"audio": 4}
    native, original = arguments("aligner-hf", "aligner"), arguments("aligner", "aligner")
    assert native["convert"] == "classify"
    assert original["hf_overrides"] == {"architectures": [ALIGNER_CLASS]}
    for found in (native, original):
        assert found["runner"] == "pooling"
        assert found["pooler_config"]["tok_pooling_type"] == "STEP"
    assert EngineLimits(max_live_s=MAX_AUDIO_S).max_tokens > 13 * MAX_AUDIO_S


@pytest.mark.vllm
def test_too_many_words_to_expect_are_refused_in_one_line(qwen3: Path) -> None:
    checkpoint = open_checkpoint(str(qwen3 / "asr-hf"), "", "recogniser", native_only=False)
    generator = VllmGenerator(checkpoint, EngineLimits())
    with pytest.raises(UserError, match=r"give fewer words in asr\.context\.$"):
        generator.generate([7] * 5000, prepare(chirp(3.0)), 32)
    generator.engine.close()


def test_torchvision_is_stood_in_for_only_while_vllm_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("torchvision") is not None:
        pytest.skip("torchvision is installed: nothing stands in for it")
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    before = len(sys.meta_path)
    no_torchvision.register()
    no_torchvision.register()
    assert len(sys.meta_path) == before + 1
    assert importlib.util.find_spec("transformers.models.qwen2_vl") is not None
    no_torchvision.import_images()
    assert no_torchvision.IMAGES in sys.modules
    assert "torchvision" not in sys.modules


def test_shares_of_one_gpu_are_checked_together(monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"asr.recogniser": "qwen3", "asr.backend": "vllm", "asr.aligner.backend": "vllm"}
    both["mt.backend"] = "vllm"
    config = load(preset_path("ende-low"), both)
    assert gpu_shares(config) == {"asr.model": (0.2, 0), "asr.aligner.model": (0.1, 0), "mt.model": (0.9, 0)}
    assert gpu_shares(load(preset_path("ende-low"))) == {}
    assert sum(share for share, _ in gpu_shares(from_tree(parse("ende-low-a40").tree())).values()) <= 0.91
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UserError, match=r"together at most 1, not 1\.20\.$"):
        ModelCache().warm_up(config)
