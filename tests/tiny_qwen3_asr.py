"""Tiny random checkpoints of Qwen3-ASR and its aligner in both layouts, as `demo.speech_skeleton` writes them."""

from __future__ import annotations

from demo.speech_skeleton import build

__all__ = ["build"]
