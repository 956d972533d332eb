"""Runs vLLM engines for the capture's tests, in a process of its own: ``capture_engine.py SCENARIO FOLDER OUT``.

FOLDER holds one checkpoint per architecture, OUT receives the pickled result. A separate process keeps vLLM's settings,
threads and warnings out of the tests, and its end takes every engine with it.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from capture_models import HEADS, prompts

from agent.capture import engine_options, merge, sampling_args

N_TOKENS = 16
N_ROWS = 17  # the last token's own row too: one token more is drafted
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "HF_HUB_OFFLINE": "1",
}
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


def sampling(key: str | None, n_prompt: int, span: tuple[int, int] | None = None, **options: Any) -> Any:
    from vllm import SamplingParams

    extra = None if key is None else sampling_args(key, span or (0, n_prompt), N_ROWS)
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


def in_process(folder: Path, architecture: str, capture: bool, **options: Any) -> dict[str, Any]:
    """Two passes over the same prompts, so that the second finds them in the prefix cache."""
    from vllm import LLM

    batch = prompts(10, (20, 260), seed=3, shared=70)
    ours = engine_options(HEADS[architecture], **CAPTURE) if capture else {"max_num_seqs": CAPTURE["max_num_seqs"]}
    llm = LLM(str(folder / architecture), **{**ENGINE, **ours, **options})
    result: dict[str, Any] = {"cold": draft(llm, batch, "cold" if capture else None)}
    result["warm"] = draft(llm, batch, "warm" if capture else None)
    if capture:
        result["state"] = llm.collective_rpc("describe_capture")
    llm.llm_engine.engine_core.shutdown()
    return result


def captured(folder: Path) -> dict[str, Any]:
    """Every architecture, eager."""
    return {name: in_process(folder, name, capture=True) for name in HEADS if (folder / name).is_dir()}


def stock(folder: Path) -> dict[str, Any]:
    """The same prompts on vLLM's own classes."""
    os.environ["AGENT_CAPTURE"] = "0"
    return {name: in_process(folder, name, capture=False) for name in HEADS if (folder / name).is_dir()}


async def _sessions(engine: Any, n_sessions: int, n_steps: int) -> list[dict[str, Any]]:
    """Streams that grow by a few tokens per step and fetch rows only after others have reused the blocks."""
    results: list[dict[str, Any]] = []

    async def session(number: int) -> None:
        ids = prompts(1, (30, 120), seed=number, shared=10 + number % 2)[0]
        for step in range(n_steps):
            key, tokens = f"{number}-{step}", []
            span = (5, len(ids) - 5)
            params = sampling(key, len(ids), span)
            async for output in engine.generate({"prompt_token_ids": ids}, params, request_id=key):
                tokens = list(output.outputs[0].token_ids)
            await asyncio.sleep(0.05)
            rows = merge(await engine.collective_rpc("fetch_rows", args=(key,)))
            results.append({"ids": ids, "tokens": tokens, "rows": rows, "span": span})
            ids = [*ids, *tokens[: 2 + number % 5], *prompts(1, (5, 20), seed=100 * number + step)[0]]

    await asyncio.gather(*(session(number) for number in range(n_sessions)))
    return results


def sessions(folder: Path, **options: Any) -> dict[str, Any]:
    """Eight streams at once on an AsyncLLM in processes of its own."""

    async def run() -> dict[str, Any]:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        arguments = {**ENGINE, **engine_options(HEADS["gemma4"], **CAPTURE), **options}
        engine = AsyncLLM.from_engine_args(AsyncEngineArgs(model=str(folder / "gemma4"), **arguments))
        try:
            drafts = await _sessions(engine, n_sessions=8, n_steps=4)
            return {"drafts": drafts, "state": await engine.collective_rpc("describe_capture")}
        finally:
            engine.shutdown()

    return asyncio.run(run())


SCENARIOS = {"captured": captured, "stock": stock, "sessions": sessions}


def main() -> None:
    scenario, folder, out = sys.argv[1:]
    os.environ.update(ENVIRONMENT)
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0" if scenario in ("captured", "stock") else "1"
    result = SCENARIOS[scenario](Path(folder))
    Path(out).write_bytes(pickle.dumps(result))


if __name__ == "__main__":
    main()
