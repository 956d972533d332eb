"""The worker: sets capture up when the cache exists, follows every step, answers ``collective_rpc``.

``vllm_rows.worker.CaptureWorker`` is this platform's worker with `WorkerMixin`, made when vLLM resolves the name.
"""

from __future__ import annotations

import weakref
from functools import cache
from typing import Any

import numpy as np
import torch

from vllm_rows.errors import UnsupportedModelError
from vllm_rows.layers import attach_recorders, refuse_engine
from vllm_rows.options import CONFIG_KEY
from vllm_rows.tracker import TrackedRequest, Tracker
from vllm_rows.vllm_internals import internal, require_verified_version

_trackers: weakref.WeakValueDictionary[int, Tracker] = weakref.WeakValueDictionary()


def tracker_of(vllm_config: Any) -> Tracker | None:
    """The tracker of the engine with this configuration in this process; logits processors find it here."""
    return _trackers.get(id(vllm_config))


class WorkerMixin:
    """Before a worker class of vLLM in the bases."""

    vllm_config: Any
    tracker: Tracker | None = None

    def initialize_from_config(self, kv_cache_config: Any) -> None:
        """Attach recorders: the cache exists, warm-up and graph capture come after."""
        super().initialize_from_config(kv_cache_config)  # type: ignore[misc]
        capture = (self.vllm_config.additional_config or {}).get(CONFIG_KEY)
        if capture is None:
            return
        require_verified_version()
        max_requests = self.vllm_config.scheduler_config.max_num_seqs
        refuse_engine(self.vllm_config, "starts_word" in capture)
        heads = [(int(layer), int(head)) for layer, head in capture["heads"]]
        layers = attach_recorders(self.vllm_config, kv_cache_config, heads, max_requests * capture["max_rows"])
        self.tracker = Tracker(layers, max_requests, capture["max_rows"])
        self.heads = heads
        # A full CUDA graph replays what was on when it was captured, so there the output is always recorded.
        self.always_check = self.vllm_config.compilation_config.cudagraph_mode.has_full_cudagraphs()
        self.check_kernel_output(False)
        _trackers[id(self.vllm_config)] = self.tracker

    def execute_model(self, scheduler_output: Any) -> Any:
        """One step of the engine."""
        if self.tracker is not None:
            self.tracker.step(scheduler_output)
        return super().execute_model(scheduler_output)  # type: ignore[misc]

    def fetch_rows(self, key: str) -> dict[str, Any] | None:
        """This rank's part of the rows of ``key``, for `vllm_rows.rows.merge`. None when the key is unknown."""
        request = None if self.tracker is None else self.tracker.fetch(key)
        if self.tracker is None or request is None:
            return None
        width = request.span[1] - request.span[0]
        order = self.tracker.order
        rows = torch.cat(request.chunks, dim=1).cpu().numpy() if request.chunks else np.zeros((len(order), 0, width))
        return {
            "key": key,
            "error": request.error,
            "first_position": request.first_row,
            "n_heads": len(self.heads),
            "heads": order,
            "n_rows": request.next_row - request.first_row,
            "width": width,
            "rows": rows.astype(np.float32, copy=False).tobytes(),
            "refused_token": _refused(request),
            "deviations": request.deviations,
        }

    def describe_capture(self) -> dict[str, Any]:
        """What this rank captures, for self-tests and messages."""
        if self.tracker is None:
            raise UnsupportedModelError("The engine was started without vllm_rows.engine_options.")
        model = self.vllm_config.model_config
        return {
            "layers": [
                {
                    "layer": layer.number,
                    "order": layer.order,
                    "backend": type(layer.module.impl).__name__,
                    "window": layer.window,
                    "shared_with": layer.module.kv_sharing_target_layer_name,
                    "block_size": layer.block_size,
                }
                for layer in self.tracker.layers
            ],
            "heads": [list(head) for head in self.heads],
            "max_rows": self.tracker.max_rows,
            "dtype": str(model.dtype).removeprefix("torch."),
            "vocabulary": model.get_vocab_size(),
            "max_model_len": model.max_model_len,
            "live": len(self.tracker.live),
            "done": len(self.tracker.done),
            "replays": self.tracker.n_replays,
            "preempted": self.tracker.n_preempted,
        }

    def check_kernel_output(self, on: bool) -> None:
        """Record the kernel's output beside the queries from now on, so that requests can ask for the row·V check."""
        if self.tracker is not None:
            for layer in self.tracker.layers:
                layer.recorder.record_outputs = on or self.always_check


def _refused(request: TrackedRequest) -> int | None:
    token = -1 if request.refused is None else int(request.refused)
    return None if token < 0 else token


@cache
def _capture_worker() -> type[Any]:
    base = internal("CPUWorker") if internal("current_platform").is_cpu() else internal("GPUWorker")
    return type("CaptureWorker", (WorkerMixin, base), {})


def __getattr__(name: str) -> type[Any]:
    if name == "CaptureWorker":
        return _capture_worker()
    raise AttributeError(name)
