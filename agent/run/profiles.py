"""Presets: operating points, ``PAIR-REGIME[-PROFILE][-VARIANT]``, made of the layers in agent/presets.

A profile is a kind of machine with the models that run on it; ``demo``, the embedded models, is the default and is
never named. ``ende-low``; ``enfr-high-a40``; ``ende-low-a40-paper``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent import languages
from agent.config import EMBEDDED_DIRECTIONS, PRESETS, override, read_yaml
from agent.errors import UserError, nearest

REGIMES = ("low", "high")
VARIANTS = ("paper",)


@dataclass(frozen=True)
class Profile:
    """A kind of machine. ``layers``: names of YAML files, later ones win. ``gpu_gb``: memory of its GPU in 10⁹ bytes, 0
    for none. ``settings``: keys that differ on this machine."""

    layers: tuple[str, ...]
    gpu_gb: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)


FULL = ("full", "full-{regime}")
PROFILES: Mapping[str, Profile] = {
    "demo": Profile(("{pair}-{regime}",)),
    "a40": Profile(FULL, 48.0),
    "a100-40": Profile(FULL, 40.0),
    "h100": Profile(FULL, 80.0),
    # A cache has to hold the longest request: 4608 tokens of the speech models, 0.22 MB each in float32.
    "cpu": Profile(
        FULL,
        settings={
            "mt.device": "cpu",
            "mt.vllm.kv_cache_gib": 1.0,
            "asr.cache_gib": 1.5,
            "asr.aligner.cache_gib": 1.5,
        },
    ),
}


@dataclass(frozen=True)
class Preset:
    """An operating point. ``profile``: a key of `PROFILES`; ``variant``: one of `VARIANTS`, or empty."""

    source_lang: str
    target_lang: str
    regime: str
    profile: str = "demo"
    variant: str = ""

    @property
    def name(self) -> str:
        """As typed: ``ende-low-a40``."""
        profile = "" if self.profile == "demo" else self.profile
        pair = f"{self.source_lang}{self.target_lang}"
        return "-".join(part for part in (pair, self.regime, profile, self.variant) if part)

    def tree(self) -> dict[str, Any]:
        """Its configuration, unchecked. UserError when the embedded models have no such preset."""
        profile, pair = PROFILES[self.profile], f"{self.source_lang}{self.target_lang}"
        tree: dict[str, Any] = {}
        for layer in (*profile.layers, *([self.variant] if self.variant else [])):
            path = PRESETS / f"{layer.format(pair=pair, regime=self.regime)}.yaml"
            if not path.is_file():
                raise UserError(f"Unknown preset '{self.name}'.{nearest(self.name, preset_names())}")
            override(tree, _dotted(read_yaml(path)))
        fixed = {"source_lang": self.source_lang, "target_lang": self.target_lang, "regime": self.regime}
        override(tree, {**profile.settings, **fixed})
        return tree


def get(name: str) -> Profile:
    """The profile of that name; UserError with the nearest one when there is none."""
    if name not in PROFILES:
        raise UserError(f"Unknown profile '{name}'.{nearest(name, PROFILES)}")
    return PROFILES[name]


def parse(name: str) -> Preset:
    """The preset of a name. UserError with the nearest one when it is none."""
    pair, _, rest = name.partition("-")
    regime, _, rest = rest.partition("-")
    variant = next((each for each in VARIANTS if rest == each or rest.endswith(f"-{each}")), "")
    profile = rest.removesuffix(variant).rstrip("-") or "demo"
    splits = [(pair[:at], pair[at:]) for at in range(2, len(pair) - 1)]
    known = [(source, target) for source, target in splits if {source, target} <= set(languages.NAMES)]
    if not known or regime not in REGIMES or profile not in PROFILES:
        raise UserError(f"Unknown preset '{name}'.{nearest(name, preset_names())}")
    return Preset(*known[0], regime, profile, variant)


def preset_names() -> list[str]:
    """Presets of the track's directions: those of the embedded models, and those of the full ones on an A40. Other
    directions and profiles are named in the same way."""
    pairs = [direction.split("-") for direction in EMBEDDED_DIRECTIONS]
    points = [("demo", ""), ("a40", ""), ("a40", "paper")]
    return [Preset(s, t, regime, *point).name for s, t in pairs for regime in REGIMES for point in points]


def _dotted(tree: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= _dotted(value, f"{where}{key}.") if isinstance(value, Mapping) else {f"{where}{key}": value}
    return found
