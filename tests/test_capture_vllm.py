"""Rows captured from vLLM engines against Transformers' eager attention, tokens against stock vLLM.

The engines run in subprocesses (`capture_engine`), one per scenario for all tests of a session.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from capture_models import HEADS, Eager, save_checkpoint

import agent

TOLERANCE = 2e-5
TIMEOUT_S = 400.0
ARCHITECTURES = ["gemma4"]

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
            results[scenario] = _run(scenario, checkpoints, out)
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
        )
        try:
            code = process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            # The session's own process group: whatever the engine started goes with it.
            if process.poll() is None or code != 0:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    assert code == 0, f"{scenario} ended with {code}:\n" + log.read_text(errors="replace")[-6000:]
    return pickle.loads(out.read_bytes())


def check_rows(drafts: list[dict[str, Any]], name: str, model: Eager) -> None:
    """Every row of every head within the tolerance, every token the model's own greedy one."""
    for draft in drafts:
        ids, tokens, captured = draft["ids"], draft["tokens"], draft["rows"]
        start, end = draft.get("span", (0, len(ids)))
        rows, greedy = model.rows(ids + tokens, HEADS[name])
        first = len(ids) - 1
        assert tokens == greedy[first:-1]
        assert captured.first_position == first
        assert captured.rows.shape == (len(HEADS[name]), 17, end - start)
        np.testing.assert_allclose(captured.rows, rows[:, first : first + 17, start:end], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_rows_are_those_of_eager_attention(name: str, run: Callable[[str], Any], eager: Callable[[str], Eager]) -> None:
    result = run("captured")[name]
    assert max(draft["cached"] for draft in result["cold"]) < min(len(draft["ids"]) for draft in result["cold"])
    assert all(draft["cached"] for draft in result["warm"])
    check_rows(result["cold"], name, eager(name))
    check_rows(result["warm"], name, eager(name))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tokens_are_those_of_stock_vllm(name: str, run: Callable[[str], Any]) -> None:
    stock, captured = run("stock")[name], run("captured")[name]
    for temperature in ("cold", "warm"):
        expected = [draft["tokens"] for draft in stock[temperature]]
        assert [draft["tokens"] for draft in captured[temperature]] == expected


def test_gemma4_covers_sliding_full_and_shared_layers(run: Callable[[str], Any]) -> None:
    layers = {layer["layer"]: layer for layer in run("captured")["gemma4"]["state"][0]["layers"]}
    assert [layers[number]["window"] for number in (0, 2, 4, 5)] == [40, None, 40, None]
    assert layers[4]["shared_with"] == "model.layers.3.self_attn.attn"
    assert layers[5]["shared_with"] == "model.layers.2.self_attn.attn"


def test_eight_sessions_at_once_with_late_fetches(run: Callable[[str], Any], eager: Callable[[str], Eager]) -> None:
    result = run("sessions")
    assert len(result["drafts"]) == 32
    check_rows(result["drafts"], "gemma4", eager("gemma4"))
    assert result["state"][0]["live"] + result["state"][0]["done"] <= 8
