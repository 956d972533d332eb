"""A vLLM engine in a process of its own that drafts when it is told to and says what that took.

Engines that are compared live side by side and take turns, so that a busy machine is busy for both. Seconds are given
twice: by the clock, and of the engine process's own processor time, which other programs hardly change.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

import torch

from agent.vllm_engine.arguments import CPU_BLOCK_TOKENS, cpu_environment
from vllm_rows import engine_options, merge, sampling_args

MAX_NUM_SEQS = 16
# The model runs in the process that schedules.
SETTINGS = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}


@dataclass(frozen=True)
class EngineSetup:
    """What to start. ``heads``: (layer, head) to capture, None for stock vLLM; ``options``: more of vLLM's own."""

    model: str
    n_tokens: int
    heads: tuple[tuple[int, int], ...] | None
    options: dict[str, Any] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of ``LLM``."""
        ours: dict[str, Any] = {"max_num_seqs": MAX_NUM_SEQS}
        if self.heads is not None:
            ours = engine_options(self.heads, max_num_seqs=MAX_NUM_SEQS, max_rows=self.n_tokens)
        return {"model": self.model, "disable_log_stats": True, "use_tqdm_on_load": False, **ours, **self.options}


@dataclass(frozen=True)
class Round:
    """What a batch took, in seconds: all of it by the clock and on the processor, replay and fetch by the clock.

    A fetch may have to replay first; that time counts as replay.
    """

    wall_s: float
    cpu_s: float
    replay_s: float
    fetch_s: float
    tokens: list[list[int]]


def engine_modes() -> dict[str, dict[str, Any]]:
    """Settings of vLLM that are measured here, by name: eager, on a GPU also with CUDA graphs."""
    common: dict[str, Any] = {"max_model_len": 512}
    if not torch.cuda.is_available():
        return {"eager": {**common, "dtype": "float32", "block_size": CPU_BLOCK_TOKENS, "enforce_eager": True}}
    # Two engines are on the card at once.
    common |= {"dtype": "bfloat16", "gpu_memory_utilization": 0.4}
    graphs = {
        mode.lower(): {**common, "compilation_config": {"cudagraph_mode": mode}}
        for mode in ("PIECEWISE", "FULL_AND_PIECEWISE")
    }
    return {"eager": {**common, "enforce_eager": True}, **graphs}


class EngineProcess:
    """Starts an engine for ``setup``, on a CPU with one thread; a context manager."""

    def __init__(self, setup: EngineSetup) -> None:
        variables = {**SETTINGS} if setup.heads is not None else {**SETTINGS, "AGENT_CAPTURE": "0"}
        if not torch.cuda.is_available():
            variables |= {**cpu_environment(), "VLLM_CPU_KVCACHE_SPACE": "1"}
        before = dict(os.environ)
        os.environ.update(variables)
        try:
            self._process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
            self._process.submit(_start, setup).result()
        finally:
            os.environ.clear()
            os.environ.update(before)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.submit(_end).result()
        self._process.shutdown()

    def draft(self, prompts: Sequence[list[int]], at_once: int) -> Round:
        """Draft for all prompts, ``at_once`` of them at a time, from an empty prefix cache; rows are fetched."""
        return self._process.submit(_round, prompts, at_once).result()


@dataclass(frozen=True)
class _Engine:
    """The engine of this process, its setup, and how many seconds each replay of a round took."""

    llm: Any
    setup: EngineSetup
    replays: list[float]


_running: list[_Engine] = []


def _start(setup: EngineSetup) -> None:
    from vllm import LLM

    engine = _Engine(LLM(**setup.arguments()), setup, [])
    if setup.heads is not None:
        engine.llm.collective_rpc(_time_replays, args=(engine.replays,))
    _running.append(engine)


def _end() -> None:
    _running.pop().llm.llm_engine.engine_core.shutdown()


def _time_replays(worker: Any, seconds: list[float]) -> None:
    """Note how long every replay takes; worker and list live in this process."""
    replay = worker.tracker.replay

    def timed(request: Any) -> None:
        start = time.perf_counter()
        replay(request)
        seconds.append(time.perf_counter() - start)

    worker.tracker.replay = timed


def _round(prompts: Sequence[list[int]], at_once: int) -> Round:
    from vllm import SamplingParams

    (engine,) = _running
    n_tokens, captures = engine.setup.n_tokens, engine.setup.heads is not None
    engine.llm.reset_prefix_cache()
    engine.replays.clear()
    tokens: list[list[int]] = []
    fetch_s = 0.0
    wall, cpu = time.perf_counter(), time.process_time()
    for first in range(0, len(prompts), at_once):
        batch = prompts[first : first + at_once]
        keys = [f"{wall}-{first + index}" for index in range(len(batch))]
        params = [
            SamplingParams(
                temperature=0.0,
                max_tokens=n_tokens,
                ignore_eos=True,
                detokenize=False,
                extra_args=sampling_args(key, (0, len(ids)), n_tokens) if captures else None,
            )
            for key, ids in zip(keys, batch, strict=True)
        ]
        outputs = engine.llm.generate([{"prompt_token_ids": ids} for ids in batch], params, use_tqdm=False)
        tokens += [list(output.outputs[0].token_ids) for output in outputs]
        if captures:
            start, n_before = time.perf_counter(), len(engine.replays)
            for key in keys:
                assert merge(engine.llm.collective_rpc("fetch_rows", args=(key,))) is not None
            fetch_s += time.perf_counter() - start - sum(engine.replays[n_before:])
    return Round(time.perf_counter() - wall, time.process_time() - cpu, sum(engine.replays), fetch_s, tokens)
