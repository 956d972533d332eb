"""vLLM's attention back ends with recording, made when vLLM resolves their names (``vllm_rows.backends.NAME``)."""

from __future__ import annotations

from functools import cache
from typing import Any

from vllm_rows.record import CaptureMixin
from vllm_rows.vllm_internals import BACKENDS, internal


@cache
def _capturing(name: str) -> type[Any]:
    base = internal(name)
    implementation = base.get_impl_cls()
    capturing = type(f"Capture{implementation.__name__}", (CaptureMixin, implementation), {})
    return type(f"Capture{base.__name__}", (base,), {"get_impl_cls": staticmethod(lambda: capturing)})


def __getattr__(name: str) -> type[Any]:
    if name in BACKENDS:
        return _capturing(name)
    raise AttributeError(name)
