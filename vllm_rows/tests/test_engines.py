"""Rows captured from vLLM engines against Transformers' eager attention, tokens against stock vLLM.

The engines run in subprocesses (`run_engines`), one per scenario for all tests of a session.
"""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_engines import ENVIRONMENT, FAULTS, N_ROWS, STARTS_WORD, VARIANTS
from tiny_checkpoints import HEADS, Eager, save_checkpoint

from vllm_rows import VERIFIED, vllm_version
from vllm_rows.plugin import register
from vllm_rows.self_test import KERNEL_TOLERANCE, ROW_TOLERANCE

TIE = 1e-3
"""Logits this close may be ordered otherwise by a sum taken in another order: on another processor or two ranks."""
TIMEOUT_S = 1500.0
PACKAGE = Path(__file__).parents[1]
MODEL = PACKAGE.parent / "demo" / "model"
"""The model of the README's example."""
OF_DTYPE = {"float32": "gemma4", "bfloat16": "bfloat16"}
"""The variant whose self-test is looked at."""

pytestmark = [pytest.mark.slow, pytest.mark.vllm]


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    for name in HEADS:
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
    """Result of a scenario of `run_engines`, run once."""
    results: dict[str, Any] = {}

    def result(scenario: str) -> Any:
        if scenario not in results:
            folder = tmp_path_factory.mktemp(scenario)
            out = folder / "result.pickle"
            try:
                run_script(folder, PACKAGE / "tests" / "run_engines.py", scenario, checkpoints, out)
                results[scenario] = pickle.loads(out.read_bytes())
            except AssertionError as error:  # not run again for every test that needs it
                results[scenario] = error
        if isinstance(results[scenario], AssertionError):
            raise results[scenario]
        return results[scenario]

    return result


def run_script(folder: Path, *command: str | Path) -> str:
    """What a Python script prints, run in ``folder``; whatever it started is gone afterwards."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
            env={**os.environ, **ENVIRONMENT, "VLLM_CACHE_ROOT": str(folder.parent / "cache")},
        )
        try:
            code: int | None = process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            # The session's own process group: whatever the engine started goes with it.
            if process.poll() is None or process.returncode:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    printed = log.read_text(encoding="utf-8", errors="replace")
    assert code == 0, f"{command} ended with {code}:\n" + printed[-6000:]
    return printed


def check_rows(drafts: list[dict[str, Any]], name: str, model: Eager) -> None:
    """Every row of every head within the tolerance, every token the model's own greedy one."""
    for draft in drafts:
        ids, tokens, captured = draft["ids"], draft["tokens"], draft["rows"]
        start, end = draft["margin"], len(ids) - draft["margin"]
        rows, logits = model.rows(ids + tokens, HEADS[name])
        first = len(ids) - 1
        chosen = logits[first:-1].gather(1, torch.tensor(tokens)[:, None])[:, 0]
        assert (chosen >= logits[first:-1].amax(1) - TIE).all()
        assert captured.first_position == first
        assert captured.rows.shape == (len(HEADS[name]), N_ROWS, end - start)
        expected = rows[:, first : first + N_ROWS, start:end].numpy()
        np.testing.assert_allclose(captured.rows, expected, rtol=0, atol=ROW_TOLERANCE)


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


def test_this_vllm_is_a_verified_one_and_finds_the_plug_in() -> None:
    assert vllm_version() in VERIFIED
    (found,) = entry_points(group="vllm.general_plugins", name="attention_rows")
    assert found.load() is register


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("temperature", ["cold", "warm"])
def test_rows_are_those_of_eager_attention_and_tokens_those_of_stock_vllm(
    temperature: str, variant: str, run: Callable[[str], Any], eager: Callable[[str], Eager]
) -> None:
    drafts, name = run("captured")[variant][temperature], VARIANTS[variant][0]
    if temperature == "warm" and variant != "preempted":  # there the first pass has not left blocks for every prompt
        assert all(draft["cached"] for draft in drafts)
    if variant != "bfloat16":
        check_rows(drafts, name, eager(name))
    stock = run("stock")[variant][temperature]
    assert [draft["tokens"] for draft in drafts] == [draft["tokens"] for draft in stock]


def test_all_kinds_of_layers_and_preemption_in_both_passes_were_covered(run: Callable[[str], Any]) -> None:
    layers = {layer["layer"]: layer for layer in run("captured")["gemma4"]["state cold"][0]["layers"]}
    assert [layers[number]["window"] for number in (0, 2, 4, 5)] == [40, None, 40, None]
    assert layers[4]["shared_with"] == "model.layers.3.self_attn.attn"
    assert layers[5]["shared_with"] == "model.layers.2.self_attn.attn"
    preempted = run("captured")["preempted"]
    cold, warm = (preempted[f"state {temperature}"][0]["preempted"] for temperature in ("cold", "warm"))
    assert 0 < cold < warm


@pytest.mark.parametrize(("ranks", "n_ranks"), [("one rank", 1), ("two ranks", 2)])
def test_eight_sessions_at_once_with_late_fetches(
    ranks: str, n_ranks: int, run: Callable[[str], Any], eager: Callable[[str], Eager]
) -> None:
    result, stock = run("sessions")[ranks], run("stock")["gemma4"]["sessions"]
    assert len(result["drafts"]) == 32
    check_rows(list(result["drafts"].values()), "gemma4", eager("gemma4"))
    parted: set[int] = set()  # at a tie; what follows has another prompt
    for number, step in sorted(result["drafts"]):
        draft, expected = result["drafts"][number, step], stock[number, step]
        if number not in parted and not same_tokens(draft, expected, eager("gemma4"), "gemma4"):
            parted.add(number)
    assert len(parted) <= 1
    assert len(result["state"]) == n_ranks
    assert all(rank["live"] + rank["done"] <= 8 for rank in result["state"])
    assert result["report"].row_difference <= ROW_TOLERANCE


@pytest.mark.parametrize("dtype", OF_DTYPE)
def test_the_self_test_passes_on_a_sound_engine(dtype: str, run: Callable[[str], Any]) -> None:
    report = run("captured")[OF_DTYPE[dtype]]["faults"]["clean"]
    assert report.dtype == dtype
    assert 0 < report.kernel_difference <= KERNEL_TOLERANCE[dtype]
    assert (report.row_difference is None) == (dtype == "bfloat16")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("dtype", OF_DTYPE)
def test_the_self_test_refuses_a_planted_fault(dtype: str, fault: str, run: Callable[[str], Any]) -> None:
    message = run("captured")[OF_DTYPE[dtype]]["faults"][fault]
    assert re.search(r"^CaptureMismatchError.*layer \d+ head \d+, position \d+, (dimension|column) \d+", str(message))


@pytest.mark.parametrize(
    ("asked", "case", "message"),
    [
        ("requests", "rows", "CaptureError.*max_rows=17"),
        ("requests", "span", "CaptureError.*prompt of 20 tokens"),
        ("requests", "never seen", "^None$"),
        ("refusals", "layer", "UnsupportedModelError.*no layer 9"),
        ("refusals", "head", "UnsupportedModelError.*no head 4"),
        ("refusals", "speculation", "UnsupportedModelError.*speculative decoding"),
    ],
)
def test_what_cannot_be_served_is_refused(asked: str, case: str, message: str, run: Callable[[str], Any]) -> None:
    captured = run("captured")
    messages = captured["refusals"] if asked == "refusals" else captured["gemma4"]["requests"]
    assert re.search(message, str(messages[case]), re.DOTALL)


def _expected_stop(free: dict[str, Any], rule: Any) -> int | None:
    """Index of the first token that the rule refuses, from the rows of the full draft."""
    own = rule.row == "own"
    peaks = np.tensordot(rule.weights, free["rows"].rows, 1).argmax(-1)
    for index, token in enumerate(free["tokens"][: N_ROWS - own]):
        if (index == 0 or token in STARTS_WORD) and peaks[index + own] >= rule.limit_column:
            return index
    return None


def test_the_stop_ends_a_draft_at_the_first_refused_word(run: Callable[[str], Any]) -> None:
    n_stopped = 0
    for rule, free, stopped in run("captured")["gemma4"]["stopping"]:
        at, own = _expected_stop(free, rule), rule.row == "own"
        if at is None:
            assert stopped["tokens"] == free["tokens"]
            assert stopped["rows"].refused_token is None
            continue
        n_stopped += 1
        assert stopped["tokens"] == [*free["tokens"][: at + own], rule.stop_token_id]
        assert stopped["rows"].refused_token == free["tokens"][at]
        n_rows = at + 1 + own
        np.testing.assert_allclose(stopped["rows"].rows[:, :n_rows], free["rows"].rows[:, :n_rows], atol=ROW_TOLERANCE)
    assert n_stopped >= 6


@pytest.mark.skipif(vllm_version() != VERIFIED[-1], reason=f"demo/model is for vLLM {VERIFIED[-1]}")
@pytest.mark.skipif(not MODEL.is_dir(), reason="the model of the example is in a checkout of alignatt-agent")
def test_the_example_in_the_readme_shows_what_each_word_looks_at(tmp_path: Path) -> None:
    block = (PACKAGE / "README.md").read_text(encoding="utf-8").partition("<!-- rows.py:begin -->")[2]
    script = tmp_path / "rows.py"
    script.write_text(block.partition("```python\n")[2].partition("```")[0], encoding="utf-8")
    lines = [tuple(line.split()) for line in run_script(tmp_path, script, MODEL).splitlines()]
    assert {("hat", "chose"), ("Isabella", "Isabella"), ("aus", "chose")} <= set(lines), lines


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
