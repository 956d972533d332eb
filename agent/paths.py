"""Where relative paths of configurations point."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
"""The folder that holds ``agent``, ``heads``, ``eval`` and ``demo``: the checkout, or site-packages when installed."""


def resolve(path: str | Path) -> Path:
    """``path`` as typed if it exists or is absolute, else the same path inside the project if that exists."""
    typed = Path(path).expanduser()
    if typed.is_absolute() or typed.exists():
        return typed
    inside = PROJECT / typed
    return inside if inside.exists() else typed
