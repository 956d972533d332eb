"""The keys of the ``qwen3`` recogniser: Qwen3-ASR with its forced aligner. docs/asr.md says how to set it up."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Self

from agent.asr.contract import Recogniser, RecogniserConfig
from agent.catalogue import NamedModel, revision_of
from agent.keys import key

if TYPE_CHECKING:
    from agent.asr.qwen3.engine import Aligner, Transcriber

_loaded: dict[tuple[Qwen3Config, str], tuple[Transcriber, Aligner]] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class AlignerConfig:
    """The model that gives word times."""

    model: str = "Qwen/Qwen3-ForcedAligner-0.6B-hf"
    """Folder or hub id."""
    revision: str = ""
    """On the hub; this, like the other revisions: empty for the catalogue's (agent/catalogue.py)."""
    backend: Literal["transformers", "vllm"] = "transformers"
    """Transformers, one request at a time, or vLLM, which batches the requests of all streams."""
    gpu_share: float = key(0.1, low=0.01)
    """vllm: share of the GPU's memory; all engines' shares together are less than 1."""
    cache_gib: float = key(0.0, low=0.0)
    """vllm: size of the KV cache; 0: what gpu_share leaves, on a CPU 0.5 GiB."""


@dataclass(frozen=True)
class Qwen3Config(RecogniserConfig):
    """Qwen3-ASR transcribes the live tail again and again; Qwen3-ForcedAligner gives its word times."""

    model: str = "Qwen/Qwen3-ASR-1.7B-hf"
    """Folder or hub id of the recogniser's model."""
    revision: str = ""
    """On the hub; this, like the other revisions: empty for the catalogue's (agent/catalogue.py)."""
    backend: Literal["transformers", "vllm"] = "transformers"
    """Transformers, one request at a time, or vLLM, which batches the requests of all streams."""
    gpu_share: float = key(0.2, low=0.01)
    """vllm: share of the GPU's memory; all engines' shares together are less than 1."""
    cache_gib: float = key(0.0, low=0.0)
    """vllm: size of the KV cache; 0: what gpu_share leaves, on a CPU 0.5 GiB."""
    timeout_s: float = key(60.0, low=1.0)
    """A request that takes longer has failed: Transformers cuts it off, vLLM starts its engine again, once."""
    max_live_s: float = key(28.0, low=2.0, high=300.0)
    """Upper bound of the live tail: when no sentence ends, it is cut at the best pause."""
    hypotheses_to_agree: int = key(2, low=1)
    """So many successive hypotheses must share a sentence before it is committed."""
    context: str = ""
    """Words to expect, e.g. names and terms of the talk."""
    aligner: AlignerConfig = field(default_factory=AlignerConfig)

    @property
    def models(self) -> tuple[NamedModel, ...]:
        """Recogniser and aligner."""
        return (
            NamedModel("asr.model", self.model, self.revision, self.backend, self.gpu_share, self.cache_gib),
            NamedModel("asr.aligner.model", *vars(self.aligner).values()),
        )

    def checked(self) -> Self:
        """With the catalogue's revisions for known models that have none of their own."""
        aligner = replace(self.aligner, revision=revision_of(self.aligner.model, self.aligner.revision))
        return replace(self, revision=revision_of(self.model, self.revision), aligner=aligner)

    def open(self, source_lang: str) -> Recogniser:
        """A recogniser for one stream; streams that differ in nothing that the models know of share these. UserError
        when a model is absent, of the wrong kind or layout, or its backend not installed."""
        from agent.asr.qwen3.build import build_aligner, build_transcriber  # only here: imports torch
        from agent.asr.silero_vad import VoiceDetector
        from agent.asr.streaming import StreamingRecogniser

        shared = replace(self, hypotheses_to_agree=1), source_lang
        with _lock:
            if shared not in _loaded:
                transcriber = build_transcriber(self, source_lang)
                _loaded[shared] = transcriber, build_aligner(self.aligner, self.max_live_s, self.timeout_s)
            transcriber, aligner = _loaded[shared]
        return StreamingRecogniser(transcriber, aligner, VoiceDetector(), self.max_live_s, self.hypotheses_to_agree)
