"""This platform's worker with `WorkerMixin`, made when vLLM resolves ``agent.capture.workers.CaptureWorker``."""

from __future__ import annotations

from functools import cache
from typing import Any

from agent.capture.vllm_internals import internal


@cache
def _capture_worker() -> type[Any]:
    from agent.capture.worker import WorkerMixin

    base = internal("CPUWorker") if internal("current_platform").is_cpu() else internal("GPUWorker")
    return type("CaptureWorker", (WorkerMixin, base), {})


def __getattr__(name: str) -> type[Any]:
    if name == "CaptureWorker":
        return _capture_worker()
    raise AttributeError(name)
