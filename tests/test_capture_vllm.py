"""Rows captured from vLLM engines against Transformers' eager attention, tokens against stock vLLM.

The engines run in subprocesses (`capture_engine`), one per scenario for all tests of a session.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from capture_models import ENVIRONMENT, HEADS, VOCABULARY, Eager, save_checkpoint

import agent
from vllm_rows.self_test import KERNEL_TOLERANCE
from vllm_rows.vllm_internals import VERIFIED, vllm_version

TOLERANCE = 2e-5
TIE = 1e-3
"""Logits this close may be ordered otherwise by a sum taken in another order: on another processor or two ranks."""
TIMEOUT_S = 1500.0
ARCHITECTURES = list(HEADS)
IN_FLOAT32 = [*ARCHITECTURES, "preempted", "compiled"]
MODEL_OF = {"preempted": "gemma4", "compiled": "qwen3"}
FAULTS = ["mask off by one", "stale block", "wrong head map", "wrong KV head"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM is not installed; `make vllm` adds it to .venv"
    ),
]


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    for name in ARCHITECTURES:
        save_checkpoint(name, folder / name)
    return folder


@pytest.fixture(scope="session")
def eager(checkpoints: Path) -> Callable[[str], Eager]:
    torch.set_num_threads(1)  # more only wait for each other where other programs run
    models: dict[str, Eager] = {}

    def load(name: str) -> Eager:
        if name not in models:
            models[name] = Eager(checkpoints / name)
        return models[name]

    return load


@pytest.fixture(scope="session")
def run(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """Result of a scenario of `capture_engine`, run once."""
    results: dict[str, Any] = {}

    def result(scenario: str) -> Any:
        if scenario not in results:
            out = tmp_path_factory.mktemp(scenario) / "result.pickle"
            try:
                results[scenario] = _run(scenario, checkpoints, out)
            except AssertionError as error:  # not run again for every test that needs it
                results[scenario] = error
        if isinstance(results[scenario], AssertionError):
            raise results[scenario]
        return results[scenario]

    return result


def _run(scenario: str, checkpoints: Path, out: Path) -> Any:
    here = Path(__file__).parent
    command = [sys.executable, str(here / "capture_engine.py"), scenario, str(checkpoints), str(out)]
    log = out.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=Path(agent.__file__).parents[1],
            start_new_session=True,
            env={**os.environ, **ENVIRONMENT, "VLLM_CACHE_ROOT": str(checkpoints / "cache")},
        )
        try:
            code = process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            # The session's own process group: whatever the engine started goes with it.
            if process.poll() is None or code != 0:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    assert code == 0, f"{scenario} ended with {code}:\n" + log.read_text(errors="replace")[-6000:]
    return pickle.loads(out.read_bytes())


def check_rows(drafts: list[dict[str, Any]], name: str, model: Eager) -> None:
    """Every row of every head within the tolerance, every token the model's own greedy one."""
    for draft in drafts:
        ids, tokens, captured = draft["ids"], draft["tokens"], draft["rows"]
        start, end = draft.get("span", (0, len(ids)))
        rows, logits = model.rows(ids + tokens, HEADS[name])
        first = len(ids) - 1
        chosen = logits[first:-1].gather(1, torch.tensor(tokens)[:, None])[:, 0]
        assert (chosen >= logits[first:-1].amax(1) - TIE).all()
        assert captured.first_position == first
        assert captured.rows.shape == (len(HEADS[name]), 17, end - start)
        expected = rows[:, first : first + 17, start:end].numpy()
        np.testing.assert_allclose(captured.rows, expected, rtol=0, atol=TOLERANCE)


def same_tokens(draft: dict[str, Any], expected: dict[str, Any], model: Eager, name: str) -> bool:
    """Whether a draft has the tokens expected; where they part, it has to be at a tie of the logits."""
    assert draft["ids"] == expected["ids"]
    if draft["tokens"] == expected["tokens"]:
        return True
    pairs = zip(draft["tokens"], expected["tokens"], strict=True)
    at, pair = next((index, pair) for index, pair in enumerate(pairs) if pair[0] != pair[1])
    _, logits = model.rows(draft["ids"] + draft["tokens"][:at], HEADS[name][:1])
    assert abs(logits[-1, pair[0]] - logits[-1, pair[1]]) < TIE
    return False


@pytest.mark.parametrize("variant", IN_FLOAT32)
def test_rows_are_those_of_eager_attention(
    variant: str, run: Callable[[str], Any], eager: Callable[[str], Eager]
) -> None:
    result, name = run("captured")[variant], MODEL_OF.get(variant, variant)
    if variant != "preempted":  # there the first pass has not left blocks for every prompt
        assert all(draft["cached"] for draft in result["warm"])
    check_rows(result["cold"], name, eager(name))
    check_rows(result["warm"], name, eager(name))


@pytest.mark.parametrize("variant", [*ARCHITECTURES, "preempted", "compiled", "bfloat16"])
def test_tokens_are_those_of_stock_vllm(variant: str, run: Callable[[str], Any]) -> None:
    stock, captured = run("stock")[variant], run("captured")[variant]
    for temperature in ("cold", "warm"):
        expected = [draft["tokens"] for draft in stock[temperature]]
        assert [draft["tokens"] for draft in captured[temperature]] == expected


def test_gemma4_covers_sliding_full_and_shared_layers(run: Callable[[str], Any]) -> None:
    layers = {layer["layer"]: layer for layer in run("captured")["gemma4"]["state cold"][0]["layers"]}
    assert [layers[number]["window"] for number in (0, 2, 4, 5)] == [40, None, 40, None]
    assert layers[4]["shared_with"] == "model.layers.3.self_attn.attn"
    assert layers[5]["shared_with"] == "model.layers.2.self_attn.attn"


def test_preemption_was_forced_in_both_passes(run: Callable[[str], Any]) -> None:
    preempted = run("captured")["preempted"]
    cold, warm = (preempted[f"state {temperature}"][0]["preempted"] for temperature in ("cold", "warm"))
    assert 0 < cold < warm


@pytest.mark.parametrize("ranks", ["one rank", "two ranks"])
def test_eight_sessions_at_once_with_late_fetches(
    ranks: str, run: Callable[[str], Any], eager: Callable[[str], Eager]
) -> None:
    result = run("sessions")[ranks]
    assert len(result["drafts"]) == 32
    check_rows(result["drafts"], "gemma4", eager("gemma4"))
    stock = run("stock")["gemma4"]["sessions"]
    parted: set[int] = set()  # at a tie; what follows has another prompt
    for draft in sorted(result["drafts"], key=lambda draft: draft["step"]):
        number = draft["session"]
        expected = stock[number, draft["step"]]
        if number not in parted and not same_tokens(draft, expected, eager("gemma4"), "gemma4"):
            parted.add(number)
    assert len(parted) <= 1
    assert len(result["state"]) == (2 if ranks == "two ranks" else 1)
    for rank in result["state"]:
        assert rank["live"] + rank["done"] <= 8
    assert result["report"].row_difference <= TOLERANCE


MODEL_OF_DTYPE = {"float32": "gemma4", "bfloat16": "bfloat16"}


@pytest.mark.parametrize("dtype", MODEL_OF_DTYPE)
def test_the_self_test_passes_on_a_sound_engine(dtype: str, run: Callable[[str], Any]) -> None:
    report = run("captured")[MODEL_OF_DTYPE[dtype]]["faults"]["clean"]
    assert report.dtype == dtype
    assert 0 < report.kernel_difference <= KERNEL_TOLERANCE[dtype]
    assert (report.row_difference is None) == (dtype == "bfloat16")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("dtype", MODEL_OF_DTYPE)
def test_the_self_test_refuses_a_planted_fault(dtype: str, fault: str, run: Callable[[str], Any]) -> None:
    message = run("captured")[MODEL_OF_DTYPE[dtype]]["faults"][fault]
    assert isinstance(message, str), message
    assert re.search(r"layer \d+ head \d+, position \d+, (dimension|column) \d+", message)


def test_requests_that_ask_for_too_much_are_told_so(run: Callable[[str], Any]) -> None:
    messages = run("captured")["gemma4"]["requests"]
    assert "max_rows=17" in messages["rows"]
    assert "prompt of 20 tokens" in messages["span"]
    assert messages["unknown"] == "None"


def test_engines_that_cannot_be_captured_do_not_start(run: Callable[[str], Any]) -> None:
    messages = run("captured")["refusals"]
    assert "no layer 9" in messages["layer"]
    assert "no head 4" in messages["head"]
    assert "speculative decoding" in messages["speculation"]


def _expected_stop(free: dict[str, Any], rule: Any, starts: set[int]) -> int | None:
    """Index of the first token that the rule refuses, from the rows of the full draft."""
    own = rule.row == "own"
    peaks = np.tensordot(rule.weights, free["rows"].rows, 1).argmax(-1)
    for index, token in enumerate(free["tokens"][: 17 - own]):
        if (index == 0 or token in starts) and peaks[index + own] >= rule.limit_column:
            return index
    return None


def test_the_stop_ends_a_draft_at_the_first_refused_word(run: Callable[[str], Any]) -> None:
    results = run("captured")["gemma4"]["stopping"]
    n_stopped, starts = 0, set(range(0, VOCABULARY, 2))
    for first in range(0, len(results), 12):
        for free, stopped in zip(results[first : first + 6], results[first + 6 : first + 12], strict=True):
            rule = stopped["rule"]
            at = _expected_stop(free, rule, starts)
            if at is None:
                assert stopped["tokens"] == free["tokens"]
                assert stopped["rows"].refused_token is None
                continue
            n_stopped += 1
            kept = at + 1 if rule.row == "own" else at
            assert stopped["tokens"] == [*free["tokens"][:kept], rule.stop_token_id]
            assert stopped["rows"].refused_token == free["tokens"][at]
            n_rows = at + 1 + (rule.row == "own")
            np.testing.assert_allclose(stopped["rows"].rows[:, :n_rows], free["rows"].rows[:, :n_rows], atol=TOLERANCE)
    assert n_stopped >= 6


@pytest.mark.skipif(vllm_version() != VERIFIED[-1], reason=f"the embedded model is for vLLM {VERIFIED[-1]}")
def test_the_example_in_the_readme_shows_what_each_word_looks_at(run: Callable[[str], Any]) -> None:
    pairs = [tuple(line.split()) for line in run("captured")["readme"] if len(line.split()) == 2]
    assert {("hat", "chose"), ("Isabella", "Isabella"), ("aus", "chose")} <= set(pairs), pairs


def test_this_vllm_is_a_verified_one() -> None:
    assert vllm_version() in VERIFIED


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_cuda_graphs_return_the_rows_of_eager_execution(run: Callable[[str], Any]) -> None:
    results = run("graphs")
    for backend in ("FLASH_ATTN", "TRITON_ATTN"):
        eager_drafts = results[f"{backend} eager"]["drafts"]
        for mode in ("piecewise", "full"):
            result = results[f"{backend} {mode}"]
            assert result["report"].kernel_difference <= KERNEL_TOLERANCE["bfloat16"]
            for expected, draft in zip(eager_drafts, result["drafts"], strict=True):
                assert draft["tokens"] == expected["tokens"]
                np.testing.assert_allclose(draft["rows"].rows, expected["rows"].rows, atol=0.02)
