"""Runs vLLM engines for the capture's tests, in a process of its own: ``capture_engine.py SCENARIO FOLDER OUT``.

FOLDER holds one checkpoint per architecture, OUT receives the pickled result. A separate process keeps vLLM's settings,
threads and warnings out of the tests, and its end takes every engine with it. To be started with the variables of
`capture_models.ENVIRONMENT`: one thread has to be set before torch is imported.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from capture_models import HEADS, VOCABULARY, prompts

from vllm_rows import (
    CaptureError,
    CaptureMismatchError,
    StopRule,
    engine_options,
    layers,
    merge,
    sampling_args,
    self_test,
    self_test_async,
    transformers_reference,
)
from vllm_rows.vllm_internals import VERIFIED, vllm_version

N_ROWS = 17  # the last token's own row too: one token more is drafted
# Prompts come in pieces of 96 tokens and outgrow the sliding windows.
ENGINE: dict[str, Any] = {
    "dtype": "float32",
    "enforce_eager": True,
    "max_model_len": 512,
    "block_size": 32,
    "max_num_batched_tokens": 96,
    "disable_log_stats": True,
}
CAPTURE = {"max_num_seqs": 8, "max_rows": N_ROWS}


def sampling(
    key: str | None, n_prompt: int, span: tuple[int, int] | None = None, stop: StopRule | None = None, **options: Any
) -> Any:
    from vllm import SamplingParams

    extra = None if key is None else sampling_args(key, span or (0, n_prompt), N_ROWS, stop)
    return SamplingParams(temperature=0, max_tokens=N_ROWS, ignore_eos=True, extra_args=extra, **options)


def draft(llm: Any, batch: Sequence[list[int]], tag: str | None) -> list[dict[str, Any]]:
    """Tokens and rows of a batch; ``tag`` None drafts without capture."""
    keys = [None if tag is None else f"{tag}{index}" for index in range(len(batch))]
    outputs = llm.generate(
        [{"prompt_token_ids": ids} for ids in batch],
        [sampling(key, len(ids)) for key, ids in zip(keys, batch, strict=True)],
        use_tqdm=False,
    )
    results = []
    for key, ids, output in zip(keys, batch, outputs, strict=True):
        rows = None if key is None else merge(llm.collective_rpc("fetch_rows", args=(key,)))
        tokens = list(output.outputs[0].token_ids)
        results.append({"ids": ids, "tokens": tokens, "rows": rows, "cached": output.num_cached_tokens})
    return results


def engine(folder: Path, name: str, capture: bool, **options: Any) -> Any:
    """An ``LLM`` in this process."""
    from vllm import LLM

    ours = engine_options(HEADS[name], **CAPTURE) if capture else {"max_num_seqs": CAPTURE["max_num_seqs"]}
    if name == "hunyuan":  # the one that goes through Transformers' model code
        ours["model_impl"] = "transformers"
    return LLM(str(folder / name), **{**ENGINE, **ours, **options})


Use = Callable[[Any], Any]


def two_passes(
    folder: Path,
    name: str,
    capture: bool,
    batch: list[list[int]] | None = None,
    then: dict[str, Use] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Two passes over the same prompts, so that the second finds them in the prefix cache.

    ``then``: what else the same engine is used for, by the name of its result.
    """
    batch = batch or prompts(10, (20, 260), seed=3, shared=70)
    llm = engine(folder, name, capture, **options)
    result: dict[str, Any] = {}
    for temperature in ("cold", "warm"):
        result[temperature] = draft(llm, batch, temperature if capture else None)
        if capture:
            result[f"state {temperature}"] = llm.collective_rpc("describe_capture")
    for key, use in (then or {}).items():
        result[key] = use(llm)
    llm.llm_engine.engine_core.shutdown()
    return result


# Hardly more blocks than one request of full length may need, and prompts that all outgrow a block (of 32, 64 or 128
# tokens) while they are drafted: most requests are preempted and computed again.
PREEMPTION: dict[str, Any] = {"num_gpu_blocks_override": 31, "batch": prompts(12, (118, 123), seed=3, shared=2)}
STARTS_WORD = list(range(0, VOCABULARY, 2))


def variants(folder: Path, capture: bool, then: dict[str, dict[str, Use]] | None = None) -> dict[str, Any]:
    """Every architecture, Gemma-4 also in bfloat16 and with preemption, Qwen3 also compiled.

    Compiling takes most of a minute and Gemma-4's many kinds of layers several. ``then``: see `two_passes`.
    """
    then = then or {}
    # Gemma-4 has the stop processor too: without a rule it has to change nothing.
    stops = engine_options(HEADS["gemma4"], **CAPTURE, starts_word=STARTS_WORD) if capture else {}
    results = {"gemma4": two_passes(folder, "gemma4", capture, then=then.get("gemma4"), **stops)}
    results["bfloat16"] = two_passes(folder, "gemma4", capture, then=then.get("bfloat16"), dtype="bfloat16")
    results["preempted"] = two_passes(folder, "gemma4", capture, **PREEMPTION)
    results["compiled"] = two_passes(folder, "qwen3", capture, enforce_eager=False)
    for name in HEADS:
        if name != "gemma4":
            results[name] = two_passes(folder, name, capture)
    return results


def captured(folder: Path) -> dict[str, Any]:
    """`variants` with capture; the Gemma-4 engines then also show self-tests, stops and refused requests."""
    faults = partial(self_tests, reference=transformers_reference(str(folder / "gemma4")))
    then = {
        "gemma4": {"faults": faults, "requests": _bad_requests, "stopping": stopping},
        "bfloat16": {"faults": faults},
    }
    newest = vllm_version() == VERIFIED[-1]  # older ones cannot read the configuration of the embedded model
    readme = readme_example() if newest else None
    return {**variants(folder, True, then), "readme": readme, "refusals": refusals(folder)}


def readme_example() -> list[str]:
    """The lines that the README's example prints."""
    root = Path(__file__).parents[1]
    block = (root / "README.md").read_text(encoding="utf-8").partition("<!-- rows.py:begin -->")[2]
    code = block.partition("```python\n")[2].partition("```")[0]
    printed: list[str] = []
    exec(compile(code, "rows.py", "exec"), {"__name__": "__main__", "print": printed.append})
    return printed


def stock(folder: Path) -> dict[str, Any]:
    """`variants` on vLLM's own classes, and `_sessions` one step after the other."""
    os.environ["AGENT_CAPTURE"] = "0"
    return variants(folder, False, {"gemma4": {"sessions": _stock_sessions}})


def stopping(llm: Any) -> list[dict[str, Any]]:
    """Drafts without and with a `StopRule`, by either row."""
    weights = tuple(0.5 + 0.1 * index for index in range(len(HEADS["gemma4"])))
    batch = prompts(6, (40, 200), seed=9)
    results = []
    for convention in ("predicting", "own"):
        for share in (0.5, 0.8):
            rules = [StopRule(weights, int(share * (len(ids) - 10)), 0, convention) for ids in batch]
            spans = [(5, len(ids) - 5) for ids in batch]
            for rule_on in (False, True):
                keys = [f"{convention}{share}{rule_on}{index}" for index in range(len(batch))]
                params = [
                    sampling(key, len(ids), span, rule if rule_on else None, stop_token_ids=[0])
                    for key, ids, span, rule in zip(keys, batch, spans, rules, strict=True)
                ]
                outputs = llm.generate([{"prompt_token_ids": ids} for ids in batch], params, use_tqdm=False)
                for key, rule, output in zip(keys, rules, outputs, strict=True):
                    rows = merge(llm.collective_rpc("fetch_rows", args=(key,)))
                    tokens = list(output.outputs[0].token_ids)
                    results.append({"on": rule_on, "rule": rule, "tokens": tokens, "rows": rows})
    return results


def _plant(fault: str, worker: Any) -> Any:
    """A context in which the capture of this worker is wrong."""
    layer = worker.tracker.layers[0]
    rows, pages = layers.attention_rows, layers.read_pages
    if fault == "mask off by one":
        return patch.object(layers, "attention_rows", lambda q, k, first, *rest: rows(q, k, first - 1, *rest))
    if fault == "stale block":
        return patch.object(
            layers, "read_pages", lambda c, u, table, *rest: pages(c, u, [*table[:-1], table[-2]], *rest)
        )
    if fault == "wrong head map":
        return patch.object(layer.recorder, "heads", (layer.recorder.heads + 1) % 4)
    assert fault == "wrong KV head"
    return patch.object(layer, "kv_heads", [1 - head for head in layer.kv_heads])


def self_tests(llm: Any, reference: Any) -> dict[str, Any]:
    """Report of a clean self-test, and message of one for each planted fault."""
    results: dict[str, Any] = {"clean": self_test(llm, reference)}
    worker = llm.collective_rpc(lambda worker: worker)[0]
    for fault in ("mask off by one", "stale block", "wrong head map", "wrong KV head"):
        with _plant(fault, worker):
            try:
                results[fault] = self_test(llm, reference)
            except CaptureMismatchError as error:
                results[fault] = str(error)
    return results


def _bad_requests(llm: Any) -> dict[str, str]:
    """Messages for requests that ask for too much; the engine serves on."""
    from vllm import SamplingParams

    messages = {}
    for name, span, n_rows in (("rows", (0, 10), 40), ("span", (0, 99), 4)):
        params = SamplingParams(temperature=0, max_tokens=4, extra_args=sampling_args(name, span, n_rows))
        llm.generate({"prompt_token_ids": list(range(4, 24))}, params, use_tqdm=False)
        try:
            merge(llm.collective_rpc("fetch_rows", args=(name,)))
        except CaptureError as error:
            messages[name] = str(error)
    messages["unknown"] = str(merge(llm.collective_rpc("fetch_rows", args=("never seen",))))
    return messages


def refusals(folder: Path) -> dict[str, str]:
    """Why engines that cannot be captured do not start."""
    cases: dict[str, dict[str, Any]] = {
        "layer": engine_options([(9, 0)], **CAPTURE),
        "head": engine_options([(0, 4)], **CAPTURE),
        "speculation": {"speculative_config": {"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_max": 2}},
    }
    messages = {}
    for name, options in cases.items():
        try:
            engine(folder, "llama", True, **{**engine_options(HEADS["llama"], **CAPTURE), **options})
        except Exception as error:
            messages[name] = f"{type(error).__name__}: {error}"
    return messages


N_SESSIONS, N_STEPS = 8, 4


def _prompt(number: int, step: int, before: Sequence[int] = (), tokens: Sequence[int] = ()) -> list[int]:
    """The prompt of a session's step: the one before, some of what it drafted, and something new."""
    if step == 0:
        return prompts(1, (30, 120), seed=number, shared=10 + number % 2)[0]
    return [*before, *tokens[: 2 + number % 5], *prompts(1, (5, 20), seed=100 * number + step)[0]]


async def _sessions(serving: Any) -> list[dict[str, Any]]:
    """Streams that grow by a few tokens per step and fetch rows a draft late, when others have had the blocks."""
    results: list[dict[str, Any]] = []

    async def session(number: int) -> None:
        late: list[dict[str, Any]] = []
        ids = _prompt(number, 0)
        for step in range(N_STEPS):
            result = {"session": number, "step": step, "ids": ids, "span": (5, len(ids) - 5)}
            params = sampling(f"{number}-{step}", len(ids), result["span"])
            async for output in serving.generate({"prompt_token_ids": ids}, params, request_id=f"{number}-{step}"):
                result["tokens"] = list(output.outputs[0].token_ids)
            late.append(result)
            if step > 0:
                await fetch(late.pop(0))
            ids = _prompt(number, step + 1, ids, result["tokens"])
        await fetch(late.pop())

    async def fetch(result: dict[str, Any]) -> None:
        key = f"{result['session']}-{result['step']}"
        result["rows"] = merge(await serving.collective_rpc("fetch_rows", args=(key,)))
        results.append(result)

    await asyncio.gather(*(session(number) for number in range(N_SESSIONS)))
    return results


def _stock_sessions(llm: Any) -> dict[tuple[int, int], dict[str, Any]]:
    """Prompts and tokens of `_sessions` by (session, step), on an engine without capture."""
    results = {}
    batch = [_prompt(number, 0) for number in range(N_SESSIONS)]
    for step in range(N_STEPS):
        drafts = draft(llm, batch, None)
        for number, result in enumerate(drafts):
            results[number, step] = result
            batch[number] = _prompt(number, step + 1, result["ids"], result["tokens"])
    return results


def sessions(folder: Path) -> dict[str, Any]:
    """Eight streams at once on an AsyncLLM in processes of its own, on one rank and on two.

    There are so few blocks that what one draft has left is overwritten by others before its rows are fetched.
    """
    reference = transformers_reference(str(folder / "gemma4"))

    async def run(n_ranks: int) -> dict[str, Any]:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        ours = engine_options(HEADS["gemma4"], **CAPTURE)
        arguments = {**ENGINE, **ours, "num_gpu_blocks_override": 64, "tensor_parallel_size": n_ranks}
        serving = AsyncLLM.from_engine_args(AsyncEngineArgs(model=str(folder / "gemma4"), **arguments))
        try:
            report = await self_test_async(serving, reference)
            drafts = await _sessions(serving)
            state = await serving.collective_rpc("describe_capture")
            return {"report": report, "drafts": drafts, "state": state}
        finally:
            serving.shutdown()

    return {"one rank": asyncio.run(run(1)), "two ranks": asyncio.run(run(2))}


def graphs(folder: Path) -> dict[str, Any]:
    """On a GPU: both back ends without graphs, with piecewise and with full ones."""
    modes = {"eager": "NONE", "piecewise": "PIECEWISE", "full": "FULL_AND_PIECEWISE"}
    results: dict[str, Any] = {}
    for backend in ("FLASH_ATTN", "TRITON_ATTN"):
        for mode, graph_mode in modes.items():
            options = {
                "dtype": "bfloat16",
                "enforce_eager": mode == "eager",
                "compilation_config": {"cudagraph_mode": graph_mode},
                "attention_backend": backend,
                "gpu_memory_utilization": 0.3,
            }
            llm = engine(folder, "gemma4", True, **options)
            report = self_test(llm)
            results[f"{backend} {mode}"] = {"report": report, "drafts": draft(llm, prompts(4, (20, 200), seed=5), mode)}
            llm.llm_engine.engine_core.shutdown()
    return results


IN_PROCESS = {"captured": captured, "stock": stock, "graphs": graphs}
SCENARIOS = {**IN_PROCESS, "sessions": sessions}


def main() -> None:
    scenario, folder, out = sys.argv[1:]
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0" if scenario in IN_PROCESS else "1"
    from vllm.model_executor.models import registry

    # vLLM looks at each architecture in a new process, which imports all of vLLM again; this one can do it as well.
    registry._run_in_subprocess = lambda inspect: inspect()
    result = SCENARIOS[scenario](Path(folder))
    Path(out).write_bytes(pickle.dumps(result))


if __name__ == "__main__":
    main()
