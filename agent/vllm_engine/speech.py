"""One vLLM engine of a recogniser or aligner, asked by streams in any thread, which wait for its answers."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import CancelledError
from typing import Any, TypeVar

import torch

from agent.vllm_engine.arguments import cpu_environment
from agent.vllm_engine.thread import EngineError, EngineThread

MAX_NUM_SEQS = 16
"""Requests that are worked on at once; more of them wait."""
CPU_CACHE_GIB = 0.5

T = TypeVar("T")


class SpeechEngine:
    """One model's engine. ``kind``: what it is, for messages and request ids; ``arguments``: of ``AsyncEngineArgs``;
    ``timeout_s``: an engine that is silent for longer hangs; ``instead``: the setting to try when it keeps dying."""

    def __init__(self, kind: str, arguments: Mapping[str, Any], timeout_s: float, instead: str) -> None:
        self._kind = kind
        self._numbers = itertools.count()
        self.max_tokens = int(arguments["max_model_len"])
        """Longest request with its answer."""
        environment = {} if torch.cuda.is_available() else cpu_environment()
        self.thread = EngineThread(arguments, environment, None, f"vLLM engine of the {kind}", instead, timeout_s)

    def run(self, job: Callable[[Any, str], Awaitable[T]]) -> T:
        """The result of ``job(engine, request id)``. EngineError when it cannot start, or died or hung twice."""
        future = self.thread.run(lambda engine: job(engine, f"{self._kind}-{next(self._numbers)}"))
        try:
            return future.result()
        except CancelledError:
            raise EngineError(str(self.thread.failure or f"The {self.thread.name} was closed.")) from None
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the engine. Done at exit, too."""
        self.thread.close()
