"""This platform's worker with `WorkerMixin`, made when vLLM resolves ``vllm_rows.workers.CaptureWorker``."""

from __future__ import annotations

from functools import cache
from typing import Any

from vllm_rows.vllm_internals import internal


@cache
def _capture_worker() -> type[Any]:
    from vllm_rows.worker import WorkerMixin

    base = internal("CPUWorker") if internal("current_platform").is_cpu() else internal("GPUWorker")
    return type("CaptureWorker", (WorkerMixin, base), {})


def __getattr__(name: str) -> type[Any]:
    if name == "CaptureWorker":
        return _capture_worker()
    raise AttributeError(name)
