"""Simultaneous speech translation by attention: ``agent.AlignAttAgent`` is a simulstream speech processor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.agent import AlignAttAgent

__version__ = "0.2.0"
__all__ = ["AlignAttAgent", "__version__"]


def __getattr__(name: str) -> Any:
    """Load the agent, and with it torch, only when it is asked for."""
    if name == "AlignAttAgent":
        from agent.agent import AlignAttAgent

        return AlignAttAgent
    raise AttributeError(f"module 'agent' has no attribute {name!r}")
