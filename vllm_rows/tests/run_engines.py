"""Runs vLLM engines for `test_engines`, in a process of its own: ``run_engines.py SCENARIO FOLDER OUT``.

FOLDER holds one checkpoint per architecture, OUT receives the pickled result. A separate process keeps vLLM's settings,
threads and warnings out of the tests, and its end takes every engine with it. To be started with the variables of
`ENVIRONMENT`: one thread has to be set before torch is imported.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tiny_checkpoints import HEADS, VOCABULARY, prompts

from vllm_rows import StopRule, engine_options, merge, sampling_args, self_test, self_test_async, transformers_reference
from vllm_rows import layers as module

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "HF_HUB_OFFLINE": "1",
}
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
CAPTURE: dict[str, Any] = {"max_num_seqs": 8, "max_rows": N_ROWS}
STARTS_WORD = list(range(0, VOCABULARY, 2))
Options = dict[str, Any]

VARIANTS: dict[str, tuple[str, Options]] = {
    **{name: (name, {}) for name in HEADS},
    "hunyuan": ("hunyuan", {"model_impl": "transformers"}),  # through Transformers' model code
    "bfloat16": ("gemma4", {"dtype": "bfloat16"}),
    "preempted": ("gemma4", {"num_gpu_blocks_override": 31}),
    "compiled": ("qwen3", {"enforce_eager": False}),  # takes most of a minute; Gemma-4's many kinds of layers, several
}
"""Engines by name: checkpoint, and options beside `ENGINE`."""

# Prompts that all outgrow a block (of 32, 64 or 128 tokens) while they are drafted, and hardly more blocks than one
# request of full length may need: most requests are preempted and computed again.
BATCHES = {"preempted": prompts(12, (118, 123), seed=3, shared=2)}
BATCH = prompts(10, (20, 260), seed=3, shared=70)

FAULTS: dict[str, Callable[[module.CapturedLayer], Any]] = {
    "mask off by one": lambda _, rows=module.attention_rows: patch.object(
        module, "attention_rows", lambda query, key, first, *rest: rows(query, key, first - 1, *rest)
    ),
    "stale block": lambda _, read=module.read_pages: patch.object(
        module, "read_pages", lambda cache, unpack, table, *rest: read(cache, unpack, [*table[:-1], table[-2]], *rest)
    ),
    "wrong head map": lambda layer: patch.object(layer.recorder, "heads", (layer.recorder.heads + 1) % 4),
    "wrong KV head": lambda layer: patch.object(layer, "kv_heads", [1 - head for head in layer.kv_heads]),
}
"""Contexts in which the capture of a worker's layer is wrong."""


def result_or_message(call: Callable[[], Any]) -> Any:
    """What ``call`` returns, or the error that it raises as text."""
    try:
        return call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def sampling(key: str | None, n_prompt: int, margin: int = 0, stop: StopRule | None = None, **options: Any) -> Any:
    """Greedy, of full length; rows of all columns but ``margin`` at either end, none where ``key`` is None."""
    from vllm import SamplingParams

    extra = None if key is None else sampling_args(key, (margin, n_prompt - margin), N_ROWS, stop)
    return SamplingParams(temperature=0, max_tokens=N_ROWS, ignore_eos=True, extra_args=extra, **options)


def draft(
    llm: Any,
    batch: Sequence[list[int]],
    tag: str | None,
    margin: int = 0,
    stops: Sequence[StopRule | None] | None = None,
) -> list[dict[str, Any]]:
    """Tokens and rows of a batch; ``tag`` None drafts without capture."""
    keys = [None if tag is None else f"{tag}{index}" for index in range(len(batch))]
    rules, options = (stops, {"stop_token_ids": [0]}) if stops else ([None] * len(batch), {})
    outputs = llm.generate(
        [{"prompt_token_ids": ids} for ids in batch],
        [sampling(key, len(ids), margin, rule, **options) for key, ids, rule in zip(keys, batch, rules, strict=True)],
        use_tqdm=False,
    )
    results = []
    for key, ids, output in zip(keys, batch, outputs, strict=True):
        rows = None if key is None else merge(llm.collective_rpc("fetch_rows", args=(key,)))
        tokens = list(output.outputs[0].token_ids)
        results.append(
            {"ids": ids, "tokens": tokens, "margin": margin, "rows": rows, "cached": output.num_cached_tokens}
        )
    return results


def engine(folder: Path, name: str, capture: bool, **options: Any) -> Any:
    """An ``LLM`` in this process."""
    from vllm import LLM

    ours: Options = {"max_num_seqs": CAPTURE["max_num_seqs"]}
    if capture:
        # Gemma-4 has the stop processor too: without a rule it has to change nothing.
        ours = engine_options(HEADS[name], **CAPTURE, starts_word=STARTS_WORD if name == "gemma4" else None)
    return LLM(str(folder / name), **{**ENGINE, **ours, **options})


Uses = dict[str, Callable[[Any], Any]]


def two_passes(folder: Path, capture: bool, uses: dict[str, Uses]) -> dict[str, Any]:
    """Every variant's two passes over the same prompts, so that the second finds them in the prefix cache.

    ``uses``: by variant, what else the same engine is used for, by the name of its result.
    """
    results: dict[str, Any] = {}
    for variant, (name, options) in VARIANTS.items():
        llm = engine(folder, name, capture, **options)
        result = results[variant] = {}
        for temperature in ("cold", "warm"):
            result[temperature] = draft(llm, BATCHES.get(variant, BATCH), temperature if capture else None)
            if capture:
                result[f"state {temperature}"] = llm.collective_rpc("describe_capture")
        result |= {key: use(llm) for key, use in uses.get(variant, {}).items()}
        llm.llm_engine.engine_core.shutdown()
    return results


def captured(folder: Path) -> dict[str, Any]:
    """Variants with capture; the Gemma-4 engines then also show self-tests, stops and refused requests."""
    reference = transformers_reference(str(folder / "gemma4"))

    def faults(llm: Any) -> dict[str, Any]:
        """Report of a clean self-test, and message of one for each planted fault."""
        results = {"clean": self_test(llm, reference)}
        layer = llm.collective_rpc(lambda worker: worker.tracker.layers[0])[0]
        for fault, plant in FAULTS.items():
            with plant(layer):
                results[fault] = result_or_message(lambda: self_test(llm, reference))
        return results

    gemma4: Uses = {"faults": faults, "requests": bad_requests, "stopping": stopping}
    results = two_passes(folder, True, {"gemma4": gemma4, "bfloat16": {"faults": faults}})
    return {**results, "refusals": refusals(folder)}


def stock(folder: Path) -> dict[str, Any]:
    """Variants on vLLM's own classes, and `_sessions` one step after the other."""
    os.environ["AGENT_CAPTURE"] = "0"
    return two_passes(folder, False, {"gemma4": {"sessions": _stock_sessions}})


def stopping(llm: Any) -> list[tuple[StopRule, dict[str, Any], dict[str, Any]]]:
    """Drafts without and with a `StopRule`, by either row."""
    weights = tuple(0.5 + 0.1 * index for index in range(len(HEADS["gemma4"])))
    batch = prompts(6, (40, 200), seed=9)
    results: list[Any] = []
    for row, share in product(("predicting", "own"), (0.5, 0.8)):
        rules = [StopRule(weights, int(share * (len(ids) - 10)), 0, row) for ids in batch]
        free = draft(llm, batch, f"{row}{share}free", 5, [None] * len(batch))
        stopped = draft(llm, batch, f"{row}{share}stopped", 5, rules)
        results += zip(rules, free, stopped, strict=True)
    return results


def bad_requests(llm: Any) -> dict[str, str]:
    """Messages for requests that ask for too much; the engine serves on."""
    from vllm import SamplingParams

    messages = {}
    for name, span, n_rows in (("rows", (0, 10), 40), ("span", (0, 99), 4)):
        params = SamplingParams(temperature=0, max_tokens=4, extra_args=sampling_args(name, span, n_rows))
        llm.generate({"prompt_token_ids": list(range(4, 24))}, params, use_tqdm=False)
    for name in ("rows", "span", "never seen"):
        parts = llm.collective_rpc("fetch_rows", args=(name,))
        messages[name] = str(result_or_message(lambda parts=parts: merge(parts)))
    return messages


def refusals(folder: Path) -> dict[str, Any]:
    """Why engines that cannot be captured do not start."""
    cases: dict[str, Options] = {
        "layer": engine_options([(9, 0)], **CAPTURE),
        "head": engine_options([(0, 4)], **CAPTURE),
        "speculation": {"speculative_config": {"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_max": 2}},
    }
    return {
        name: result_or_message(lambda options=options: engine(folder, "llama", True, **options))
        for name, options in cases.items()
    }


N_SESSIONS, N_STEPS = 8, 4


def _prompt(number: int, step: int, before: Sequence[int] = (), tokens: Sequence[int] = ()) -> list[int]:
    """The prompt of a session's step: the one before, some of what it drafted, and something new."""
    if step == 0:
        return prompts(1, (30, 120), seed=number, shared=10 + number % 2)[0]
    return [*before, *tokens[: 2 + number % 5], *prompts(1, (5, 20), seed=100 * number + step)[0]]


async def _sessions(serving: Any) -> dict[tuple[int, int], dict[str, Any]]:
    """By (session, step): streams that grow by a few tokens per step and fetch rows a draft late, when others have had
    the blocks."""
    results: dict[tuple[int, int], dict[str, Any]] = {}

    async def fetch(number: int, step: int) -> None:
        parts = await serving.collective_rpc("fetch_rows", args=(f"{number}-{step}",))
        results[number, step]["rows"] = merge(parts)

    async def session(number: int) -> None:
        ids, tokens = _prompt(number, 0), []
        for step in range(N_STEPS):
            key = f"{number}-{step}"
            async for output in serving.generate({"prompt_token_ids": ids}, sampling(key, len(ids), 5), request_id=key):
                tokens = list(output.outputs[0].token_ids)
            results[number, step] = {"ids": ids, "tokens": tokens, "margin": 5}
            if step > 0:
                await fetch(number, step - 1)
            ids = _prompt(number, step + 1, ids, tokens)
        await fetch(number, N_STEPS - 1)

    await asyncio.gather(*(session(number) for number in range(N_SESSIONS)))
    return results


def _stock_sessions(llm: Any) -> dict[tuple[int, int], dict[str, Any]]:
    """Prompts and tokens of `_sessions`, on an engine without capture."""
    results = {}
    batch = [_prompt(number, 0) for number in range(N_SESSIONS)]
    for step in range(N_STEPS):
        for number, result in enumerate(draft(llm, batch, None)):
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
    for backend, (mode, graph_mode) in product(("FLASH_ATTN", "TRITON_ATTN"), modes.items()):
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


SCENARIOS = {"captured": captured, "stock": stock, "graphs": graphs, "sessions": sessions}


def main() -> None:
    scenario, folder, out = sys.argv[1:]
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1" if scenario == "sessions" else "0"
    from vllm.model_executor.models import registry

    # vLLM looks at each architecture in a new process, which imports all of vLLM again; this one can do it as well.
    registry._run_in_subprocess = lambda inspect: inspect()
    result = SCENARIOS[scenario](Path(folder))
    Path(out).write_bytes(pickle.dumps(result))


if __name__ == "__main__":
    main()
