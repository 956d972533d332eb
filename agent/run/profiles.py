"""Profiles: the kinds of machine that presets are for.

A profile picks the presets that have its suffix; ``demo``, the embedded models, is the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.errors import UserError, nearest


@dataclass(frozen=True)
class Profile:
    """A kind of machine. ``suffix``: of its presets' names. ``gpu_gb``: memory of its GPU in 10⁹ bytes, 0 for none.
    ``settings``: keys that differ from the preset's on this machine."""

    suffix: str = ""
    gpu_gb: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)

    def preset(self, name: str) -> str:
        """``ende-low`` → ``ende-low-a40``, ``ende-low-paper`` → ``ende-low-a40-paper``."""
        if not self.suffix or self.suffix in name:
            return name
        pair, _, rest = name.partition("-")
        regime, dash, variant = rest.partition("-")
        return f"{pair}-{regime}{self.suffix}{dash}{variant}"


PROFILES: Mapping[str, Profile] = {
    "demo": Profile(),
    "a40": Profile("-a40", 48.0),
    "a100-40": Profile("-a40", 40.0),
    "h100": Profile("-a40", 80.0),
    # A cache has to hold the longest request: 4608 tokens of the speech models, 0.22 MB each in float32.
    "cpu": Profile(
        "-a40",
        settings={
            "mt.device": "cpu",
            "mt.vllm.kv_cache_gib": 1.0,
            "asr.qwen3.cache_gib": 1.5,
            "asr.qwen3.aligner_cache_gib": 1.5,
        },
    ),
}


def get(name: str) -> Profile:
    """The profile of that name; UserError with the nearest one when there is none."""
    if name not in PROFILES:
        raise UserError(f"Unknown profile '{name}'.{nearest(name, PROFILES)}")
    return PROFILES[name]


def of_preset(preset: str, wanted: str = "") -> str:
    """The profile that a preset runs on: ``wanted`` where the preset is for it, else the first that it is for."""
    fitting = [name for name, profile in PROFILES.items() if profile.suffix and profile.suffix in preset]
    return wanted if wanted in fitting else next(iter(fitting), "demo")
