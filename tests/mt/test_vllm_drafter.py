"""The `vllm` backend: the same drafts as `transformers`, many at once, cancelled, restarted and ended.

What needs an engine runs in one subprocess (`vllm_drafter_run`) for all tests.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from script import result_of
from tiny import gemma4_config

import agent.mt.vllm
from agent.errors import UserError
from agent.mt.checkpoint import Checkpoint, open_checkpoint
from agent.mt.config import MtConfig, VllmConfig
from agent.mt.drafter import DraftRequest, Head
from agent.mt.vllm import VllmDrafter, engine_arguments
from agent.paths import PROJECT
from agent.vllm_engine import process as engine_process
from agent.vllm_engine.thread import EngineError, EngineThread

needs_vllm = pytest.mark.vllm


def on_engine(test: Any) -> Any:
    """Marks of what needs the engine's results."""
    return pytest.mark.vllm(pytest.mark.slow(test))


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Results of `vllm_drafter_run`."""
    out = tmp_path_factory.mktemp("vllm") / "result.pickle"
    result_of("vllm_drafter_run.py", out, TMPDIR=str(out.parent))
    result: dict[str, Any] = pickle.loads(out.read_bytes())
    result["left"] = sorted(path.name for path in out.parent.glob("alignatt-vllm-*"))
    return result


def same(drafts: list[Any], expected: list[Any]) -> None:
    assert [draft.token_ids for draft in drafts] == [draft.token_ids for draft in expected]
    for draft, other in zip(drafts, expected, strict=True):
        assert (draft.finish, draft.n_forward) == (other.finish, other.n_forward)
        np.testing.assert_allclose(draft.rows, other.rows, rtol=0, atol=1e-4)
        np.testing.assert_allclose(draft.log_probs, other.log_probs, rtol=0, atol=1e-3)


@on_engine
def test_drafts_are_those_of_the_hf_engine(ran: dict[str, Any]) -> None:
    same(ran["alone"], ran["expected"])
    assert {draft.finish for draft in ran["alone"]} == {"end_of_turn", "length"}
    assert all(draft.rows.any() for draft in ran["alone"])


@on_engine
def test_a_prompt_seen_before_is_taken_from_the_prefix_cache(ran: dict[str, Any]) -> None:
    expected, cold, warm = ran["long"]
    same([cold, warm], [expected, expected])
    assert warm.n_prefilled < cold.n_prefilled


@on_engine
def test_drafts_of_many_threads_at_once_are_the_same(ran: dict[str, Any]) -> None:
    same(ran["at once"], ran["expected"])


@on_engine
def test_guesses_change_no_draft(ran: dict[str, Any]) -> None:
    same([replace(draft, n_forward=0) for draft in ran["guessed"]], [replace(d, n_forward=0) for d in ran["expected"]])
    assert sum(draft.n_forward for draft in ran["guessed"]) < sum(draft.n_forward for draft in ran["expected"])


@on_engine
def test_stopped_drafts_are_beginnings_of_the_full_ones(ran: dict[str, Any]) -> None:
    for number, (draft, expected) in enumerate(zip(ran["stopped"], ran["expected"], strict=True)):
        n_tokens = len(draft.token_ids)
        assert draft.token_ids == expected.token_ids[:n_tokens]
        np.testing.assert_allclose(draft.rows, expected.rows[:, :n_tokens], rtol=0, atol=1e-4)
        np.testing.assert_allclose(draft.log_probs, expected.log_probs[:n_tokens], rtol=0, atol=1e-3)
        if draft.finish == "stopped":
            assert n_tokens >= 3 - number % 2
        else:
            assert (n_tokens, draft.finish) == (len(expected.token_ids), expected.finish)
    stopped, full = (sum(len(draft.token_ids) for draft in ran[key]) for key in ("stopped", "expected"))
    assert stopped < 0.8 * full
    for number, (draft, expected) in enumerate(zip(ran["stopped without rows"], ran["expected"], strict=True)):
        n_tokens = min(3 - number % 2, len(expected.token_ids))
        assert n_tokens <= len(draft.token_ids)
        assert draft.token_ids == expected.token_ids[: len(draft.token_ids)]


@on_engine
def test_sessions_accept_the_text_that_they_accept_on_the_hf_engine(ran: dict[str, Any]) -> None:
    for target, (expected, found) in ran["talks"].items():
        assert len(expected) > 15, target
        assert found == expected
    assert set(ran["sessions"]) == {ran["talks"]["de"][0]}


@on_engine
def test_forgetting_a_stream_cancels_its_draft(ran: dict[str, Any]) -> None:
    assert ran["cancelled"] == "Stream long was closed while it was drafted for."


@on_engine
def test_a_dead_engine_is_started_again_once(ran: dict[str, Any]) -> None:
    assert ran["waited in vain"] < 250  # starting takes time, but nobody waits for the dead one
    same(ran["after death"], ran["expected"])
    assert ran["starts"] == 2
    died = [message for message in ran["messages"] if "died" in message]
    assert len(died) == 1
    assert "\n" not in died[0]
    assert ran["second death"].startswith("The vLLM engine died again")
    assert "\n" not in ran["second death"]


@on_engine
def test_nothing_is_left_when_the_engine_is_closed(ran: dict[str, Any]) -> None:
    assert ran["threads"] == []
    assert ran["children"] == []


def test_without_vllm_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:
    config = MtConfig(backend="vllm", model=str(tiny_model))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs vLLM: make vllm"):
        VllmDrafter(config, open_checkpoint(config))


def test_the_engine_is_told_what_the_configuration_says(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:
    heads = (Head(2, 0), Head(5, 1))
    config = MtConfig(backend="vllm", model=str(tiny_model), max_draft_tokens=12, vllm=VllmConfig(max_num_seqs=4))
    checkpoint = open_checkpoint(config)
    monkeypatch.setattr(agent.mt.vllm.torch.cuda, "is_available", lambda: False)
    cpu = engine_arguments(config, checkpoint, heads)
    assert cpu["max_model_len"] == checkpoint.text_config.max_position_embeddings
    assert cpu["additional_config"]["attention_capture"]["heads"] == [[2, 0], [5, 1]]
    assert cpu["additional_config"]["attention_capture"]["max_rows"] == 13
    assert (cpu["kv_cache_memory_bytes"], cpu["max_num_seqs"], cpu["enforce_eager"]) == (2**30, 4, False)
    assert cpu["enable_prefix_caching"]
    assert "hf_overrides" not in cpu
    assert "additional_config" not in engine_arguments(config, checkpoint, ())

    monkeypatch.setattr(agent.mt.vllm.torch.cuda, "is_available", lambda: True)
    gpu = engine_arguments(config, checkpoint, heads)
    assert gpu["compilation_config"] == {"cudagraph_mode": "PIECEWISE"}
    assert "kv_cache_memory_bytes" not in gpu
    assert gpu["language_model_only"]
    assert "attention_backend" not in gpu
    triton = MtConfig(model=str(tiny_model), vllm=VllmConfig(attention_backend="triton_attn"))
    assert engine_arguments(triton, checkpoint, heads)["attention_backend"] == "TRITON_ATTN"
    eager = MtConfig(model=str(tiny_model), vllm=VllmConfig(compile=False))
    assert engine_arguments(eager, checkpoint, heads)["enforce_eager"]
    assert agent.mt.vllm._environment(config) == {"TRITON_F32_DEFAULT": "ieee"}
    assert agent.mt.vllm._environment(MtConfig(model=str(tiny_model), dtype="bfloat16")) == {}
    with pytest.raises(UserError, match="cpu was asked for"):
        engine_arguments(MtConfig(model=str(tiny_model), device="cpu"), checkpoint, heads)
    with pytest.raises(UserError, match="CUDA_VISIBLE_DEVICES"):
        engine_arguments(MtConfig(model=str(tiny_model), device="cuda:1"), checkpoint, heads)
    with pytest.raises(UserError, match="float33"):
        engine_arguments(MtConfig(model=str(tiny_model), dtype="float33"), checkpoint, heads)


def test_multimodal_gemma4_is_loaded_as_text_alone() -> None:
    config = SimpleNamespace(architectures=["Gemma4ForConditionalGeneration"], get_text_config=gemma4_config)
    arguments = engine_arguments(MtConfig(device="auto"), Checkpoint("x", config, None, (1,)), ())
    assert arguments["hf_overrides"] == {"architectures": ["Gemma4ForCausalLM"]}


@pytest.mark.parametrize("n_cached", [0, 16])
def test_a_guess_is_judged_by_the_end_of_what_is_told_of_the_prompt(n_cached: int) -> None:
    n_prompt, guess = 40, (5, 6, 7)
    certain = {9: SimpleNamespace(rank=1, logprob=-0.1)}
    wrong = {7: SimpleNamespace(rank=2, logprob=-3.0), 8: SimpleNamespace(rank=1, logprob=-0.5)}
    right = [{token: SimpleNamespace(rank=1, logprob=-0.2)} for token in guess[:2]]
    # What the prefix cache had is told by model runner V1, and left out by V2.
    told = [None, *[certain] * (n_prompt - 1 - n_cached), *right, wrong]
    part = agent.mt.vllm._Part()
    part.judge_guess(told, guess)
    assert (part.token_ids, part.log_probs, part.n_guessed) == ([5, 6, 8], [-0.2, -0.2, -0.5], 2)


def test_a_refused_token_that_another_one_equals_has_the_same_log_probability() -> None:
    choices = {1: SimpleNamespace(rank=900, logprob=-9.0), 12: SimpleNamespace(rank=1, logprob=-0.7)}
    part = agent.mt.vllm._Part([4, 1], [-0.1, -9.0], last_choices=choices)
    part.take_rows(np.zeros((1, 2, 3), np.float32), 11, own=False)
    assert (part.token_ids, part.log_probs) == ([4, 11], [-0.1, -0.7])


def test_a_job_cancelled_while_it_starts_the_engine_again_takes_it_from_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class EngineDeadError(Exception):
        pass

    # Importing vLLM itself warns of much.
    exceptions = SimpleNamespace(EngineDeadError=EngineDeadError)
    monkeypatch.setitem(sys.modules, "vllm.v1.engine.exceptions", exceptions)  # type: ignore[arg-type]
    restarts, goes_on = threading.Event(), threading.Event()

    class Engines(EngineThread):
        async def _make(self) -> None:
            self.n_starts += 1
            if self.n_starts > 1:
                restarts.set()
                while not goes_on.is_set():
                    await asyncio.sleep(0.01)
            self._engine = SimpleNamespace(number=self.n_starts, errored=False, shutdown=lambda: None)

    async def dies(engine: Any) -> None:
        raise EngineDeadError

    async def number(engine: Any) -> int:
        return int(engine.number)

    engines = Engines({})
    first = engines.run(dies)
    assert restarts.wait(60)
    first.cancel()
    second = engines.run(number)
    # The cancellation has reached the loop before what follows it.
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), engines._loop).result(60)
    goes_on.set()
    assert second.result(60) == 2
    engines.close()


def test_an_engine_that_failed_says_why_to_all_who_come_later() -> None:
    engine = EngineThread({})
    engine.failure = EngineError("The vLLM engine did not start: no memory.")
    engine.close()
    with pytest.raises(EngineError, match="no memory"):
        engine.start()


def test_end_tokens_are_those_of_the_hf_engine(tiny_model: Path) -> None:
    from agent.mt.checkpoint import end_of_turn_ids, load_model

    config = MtConfig(model=str(tiny_model), device="cpu")
    assert list(open_checkpoint(config).end_ids) == end_of_turn_ids(*load_model(config))
    with pytest.raises(UserError, match="No model folder"):
        open_checkpoint(MtConfig(model="./nothing"))


@needs_vllm
def test_requests_that_the_engine_cannot_serve_are_refused_before_it_starts(tiny_model: Path) -> None:
    config = MtConfig(backend="vllm", model=str(tiny_model), max_draft_tokens=4, vllm=VllmConfig(max_model_len=64))
    drafter = VllmDrafter(config, open_checkpoint(config), (Head(2, 0),))
    request = DraftRequest((5,) * 20, (3, 9), (), 4, (Head(2, 0),))
    for wrong, error, message in (
        ({"heads": (Head(3, 3),)}, ValueError, "without head 3.3"),
        ({"max_new_tokens": 5}, ValueError, "max_draft_tokens is 4"),
        ({"prompt_ids": (5,) * 60}, UserError, "64 tokens of mt.vllm.max_model_len"),
    ):
        with pytest.raises(error, match=message):
            drafter.draft(DraftRequest(**{**vars(request), **wrong}))
    drafter.forget("unknown")
    drafter.close()
    assert drafter.engine.n_starts == 0
    with pytest.raises(UserError, match="was closed"):
        drafter.draft(request)


def test_the_reason_of_an_engines_end_is_the_first_error_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    assert engine_process.reason(log) == ""
    earlier = "RuntimeError: of an earlier start\n"
    said = "(Worker pid=7) ERROR 11-21 15:00:00 [executor.py:9] "
    log.write_text(
        f"{earlier}{said}Traceback (most recent call last):\n"
        f"{said}vllm_rows.errors.UnsupportedModelError: Layer 3 is MLA.\n"
        "(EngineCore pid=6) Exception: WorkerProc initialization failed due to an exception.\n"
    )
    assert engine_process.reason(log) == "RuntimeError: of an earlier start"
    assert engine_process.reason(log, len(earlier)) == "UnsupportedModelError: Layer 3 is MLA."


def test_only_processes_of_an_engine_write_into_its_log(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    program = (
        "import multiprocessing, sys\n"
        "from agent.vllm_engine import process as engine_process\n"
        "def child():\n"
        "    engine_process.enter(); print('from the child', flush=True)\n"
        "if __name__ == '__main__':\n"
        "    engine_process.enter()\n"
        "    process = multiprocessing.get_context('spawn').Process(target=child); process.start(); process.join()\n"
        "    print('from the parent')\n"
    )
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py")],
        env={**os.environ, engine_process.VARIABLE: str(log), "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout == "from the parent\n"
    assert log.read_text() == "from the child\n"
