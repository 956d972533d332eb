"""Models that are known by name, at the revisions that presets and this project's own runs pin."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A repository at the revision that presets pin.

    ``size_gb``: download in 10⁹ bytes as its file list says, 0 where we have not seen it. ``licence``, ``access``: as
    its public pages say; where they differ or were not seen, the model card decides.
    """

    repository: str
    revision: str
    role: str
    size_gb: float = 0.0
    licence: str = "see the model card"
    access: str = "open"


CATALOGUE = (
    Published("Qwen/Qwen3-ASR-1.7B", "7278e1e70fe206f11671096ffdd38061171dd6e5", "recogniser", 4.70, "Apache-2.0"),
    Published(
        "Qwen/Qwen3-ForcedAligner-0.6B", "c7cbfc2048c462b0d63a45797104fc9db3ad62b7", "word times", 1.84, "Apache-2.0"
    ),
    Published(
        "Qwen/Qwen3-ASR-1.7B-hf",
        "bcd2b5b7f32b480ab5790554cfa8347f246a14f3",
        "recogniser, layout for Transformers",
        4.09,
        "Apache-2.0",
    ),
    Published(
        "Qwen/Qwen3-ForcedAligner-0.6B-hf",
        "c07281df297b9905d24a508279258cccf987a064",
        "word times, layout for Transformers",
        0.0,
        "Apache-2.0",
    ),
    Published(
        "google/gemma-4-E4B-it",
        "83df0a889143b1dbfc61b591bbc639540fd9ce4c",
        "translation",
        16.0,
        access="may want its terms accepted and a login (hf auth login)",
    ),
    Published("xiaomi-research/MiLMMT-46-4B-v0.1", "1341209df846d7b2f6a077090ca957e28656e3de", "translation"),
)
"""Revisions of the published system (its public code names them) and of the layouts that Transformers reads."""


def published(model: str) -> Published | None:
    """The entry of a repository; None for folders and unknown repositories."""
    return next((entry for entry in CATALOGUE if entry.repository == model), None)


def revision_of(model: str, wanted: str) -> str:
    """The revision to take: ``wanted``, or the catalogue's where none is wanted or that of another known model.

    A preset's revision is meant for the preset's model, not for what takes its place. Empty for unknown models.
    """
    entry = published(model)
    own = entry.revision if entry else ""
    return own if wanted in ("", *(other.revision for other in CATALOGUE)) else wanted


@dataclass(frozen=True)
class NamedModel:
    """A model that a configuration names: under which key, a folder or repository, its revision (may be empty), and
    what runs it.

    ``backend``: ``transformers``, ``vllm``, or another library. ``gpu_share``, ``cache_gib``: vllm: share of the GPU's
    memory, and GiB of KV cache that are taken beside the weights instead of the share (0: none given).
    """

    key: str
    model: str
    revision: str = ""
    backend: str = ""
    gpu_share: float = 0.0
    cache_gib: float = 0.0

    @property
    def published(self) -> Published | None:
        """What the catalogue says about it."""
        return published(self.model)

    @property
    def address(self) -> str:
        """What `agent.weights.parse_name` reads as this repository and revision."""
        own = self.published.revision if self.published else ""
        return self.model if self.revision in ("", own) else f"{self.model}@{self.revision}"

    @property
    def label(self) -> str:
        """Name with the first eight digits of the revision."""
        return f"{self.model}@{self.revision[:8]}" if self.revision else self.model
