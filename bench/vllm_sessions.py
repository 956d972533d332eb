"""Streams at once on one vLLM engine: tokens per second with attention rows, and whether company changes a text."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from tqdm import tqdm

from agent.vllm_engine.thread import end
from bench.parts import Options
from bench.result import Cell, Result
from bench.vllm_engine import EngineSetup, cpu_s, engine_modes, environment, require_vllm
from bench.vllm_shapes import Shape, prompts, shape, shape_names
from vllm_rows import merge, sampling_args

AT_ONCE = (1, 2, 4, 8, 16)
N_STREAMS = 16
N_TOKENS = 16
PROMPT_LENGTHS = (60, 72, 84)
"""Of each step of a stream."""
N_ROUNDS = 3
ABOUT = (
    "Sixteen streams draft three times each, every prompt longer than the one before, with rows of eight heads fetched "
    "after every draft; the same drafts with 1, 2, 4, 8 and 16 streams at a time, from an empty prefix cache, on one "
    "AsyncLLM. Medians over rounds; × is taken within a round. CPU time is that of all processes of the engine."
)


@dataclass(frozen=True)
class Run:
    """Seconds on the clock and on the processor, over all processes, and each stream's tokens."""

    wall_s: float
    cpu_s: float
    texts: tuple[tuple[int, ...], ...]


def measure(options: Options) -> Result:
    """The embedded model; on a GPU also E4B's shape, and CUDA graphs."""
    require_vllm()
    rows: list[tuple[Cell, ...]] = []
    with TemporaryDirectory() as folder:
        for name in shape_names():
            if name != "skeleton":
                for mode, settings in engine_modes().items():
                    rows += session_speed(shape(name, Path(folder)), mode, settings)
    columns = ("model", "mode", "streams at once", "tokens per s", "× one stream", "CPU ms per token", "text")
    settings = {"n_streams": N_STREAMS, "n_tokens": N_TOKENS, "prompt_tokens": PROMPT_LENGTHS, "n_rounds": N_ROUNDS}
    return Result("vllm-sessions", "Streams at once on one vLLM engine", ABOUT, columns, tuple(rows), settings)


def session_speed(model: Shape, mode: str, settings: dict[str, Any]) -> list[tuple[Cell, ...]]:
    """Table rows of one model. ``settings``: vLLM's, called ``mode``."""
    settings = {**model.options, **settings}
    setup = EngineSetup(str(model.folder), N_TOKENS, model.heads, settings)
    spawn = multiprocessing.get_context("spawn")
    connection, theirs = spawn.Pipe()
    process = spawn.Process(target=_measure, args=(theirs, setup))
    with environment():
        process.start()
    theirs.close()
    runs: dict[int, list[Run]] = connection.recv()
    process.join()
    return [(f"{model.name}, {settings['dtype']}", mode, n, *summarise(runs[1], runs[n])) for n in AT_ONCE]


def summarise(alone: Sequence[Run], runs: Sequence[Run]) -> tuple[Cell, ...]:
    """Figures of a table row; runs of one round stand at the same place in both lists."""
    n_tokens = sum(map(len, alone[0].texts))
    return (
        median(n_tokens / run.wall_s for run in runs),
        median(one.wall_s / run.wall_s for one, run in zip(alone, runs, strict=True)),
        1000 / n_tokens * median(run.cpu_s for run in runs),
        "same" if all(run.texts == alone[0].texts for run in runs) else "differs",
    )


def _measure(connection: Any, setup: EngineSetup) -> None:
    connection.send(asyncio.run(_runs(setup)))


async def _runs(setup: EngineSetup) -> dict[int, list[Run]]:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**setup.arguments()))
    try:
        await _run(engine, setup, N_STREAMS, "warm-up")
        runs: dict[int, list[Run]] = {n: [] for n in AT_ONCE}
        for number in tqdm(range(N_ROUNDS), "sessions", unit="round"):
            for n in AT_ONCE:
                runs[n].append(await _run(engine, setup, n, f"{number}-{n}"))
        return runs
    finally:
        end(engine)


async def _run(engine: Any, setup: EngineSetup, at_once: int, tag: str) -> Run:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    places = asyncio.Semaphore(at_once)
    heads = setup.heads or ()

    async def stream(number: int) -> tuple[int, ...]:
        full = prompts(N_STREAMS, PROMPT_LENGTHS[-1], seed=2)[number]
        text: tuple[int, ...] = ()
        async with places:
            for length in PROMPT_LENGTHS:
                key = f"{tag}-{number}-{length}"
                params = SamplingParams(
                    temperature=0.0,
                    max_tokens=setup.n_tokens,
                    ignore_eos=True,
                    detokenize=False,
                    output_kind=RequestOutputKind.FINAL_ONLY,
                    extra_args=sampling_args(key, (0, length), setup.n_tokens),
                )
                ids = {"prompt_token_ids": full[:length]}
                (output,) = [done async for done in engine.generate(ids, params, request_id=key)]
                rows = merge(await engine.collective_rpc("fetch_rows", args=(key,)))
                assert rows is not None
                assert rows.rows.shape[0] == len(heads)
                text += tuple(output.outputs[0].token_ids)
        return text

    await engine.reset_prefix_cache()
    wall, cpu = time.perf_counter(), cpu_s()
    texts = await asyncio.gather(*(stream(number) for number in range(N_STREAMS)))
    return Run(time.perf_counter() - wall, cpu_s() - cpu, tuple(texts))
