"""Tiny random checkpoints of Qwen3-ASR and its aligner in both layouts, as `bench.skeletons.speech` writes them."""

from __future__ import annotations

from bench.skeletons.speech import build

__all__ = ["build"]
