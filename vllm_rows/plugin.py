"""Entry point ``vllm.general_plugins``: put the capturing subclass in the place of each back end that vLLM may pick.

The classes behave as vLLM's own until a worker of ours attaches recorders, so an engine without
`vllm_rows.engine_options` is not changed. ``AGENT_CAPTURE=0`` in the environment leaves vLLM's classes in place.
"""

from __future__ import annotations

import os

from vllm_rows.vllm_internals import BACKENDS, VERIFIED, internal, vllm_version


def register() -> None:
    """Called by vLLM in every process that it starts."""
    if os.environ.get("AGENT_CAPTURE", "1") == "0" or vllm_version() not in VERIFIED:
        return
    registry = internal("AttentionBackendEnum")
    for name in BACKENDS:
        internal("register_backend")(registry[name], f"vllm_rows.backends.{name}")
