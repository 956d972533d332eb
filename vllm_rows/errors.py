"""What can go wrong with captured rows, one line each, readable by somebody who knows vLLM and not this package."""

from __future__ import annotations


class CaptureError(RuntimeError):
    """Rows cannot be captured or were asked for in a way that cannot be served. The message says what to change."""


class UnsupportedModelError(CaptureError):
    """The engine's model or settings keep keys or queries where they cannot be read; raised when the engine starts."""


class CaptureMismatchError(CaptureError):
    """The self-test found rows that differ from an independent computation: do not serve."""
