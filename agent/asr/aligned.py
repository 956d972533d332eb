"""Recognisers that transcribe the live tail again and again and take word times from a forced aligner: their keys."""

from __future__ import annotations

import threading
from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

from agent.asr.contract import RecogniserConfig
from agent.catalogue import NamedModel, revision_of
from agent.keys import key

_loaded: dict[Any, tuple[Any, Any]] = {}
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
class AlignedConfig(RecogniserConfig):
    """Keys that such recognisers share."""

    model: str = ""
    """Folder or hub id of the recogniser's model."""
    revision: str = ""
    """On the hub."""
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
    aligner: AlignerConfig = field(default_factory=AlignerConfig)

    has_aligner: ClassVar[bool] = True

    @property
    @abstractmethod
    def engine(self) -> str:
        """What runs the recogniser's model: ``transformers`` or ``vllm``."""

    @abstractmethod
    def load(self, source_lang: str) -> tuple[Any, Any]:
        """Speech to text and word times (`agent.asr.streaming`), both run once."""

    @property
    def models(self) -> tuple[NamedModel, ...]:
        """Recogniser and aligner."""
        own, aligner = (self.gpu_share, self.cache_gib), self.aligner
        return (
            NamedModel("asr.model", self.model, self.revision, self.engine, *own),
            NamedModel("asr.aligner.model", *vars(aligner).values()),
        )

    def checked(self) -> Self:
        """With the catalogue's revisions for known models that have none of their own."""
        aligner = replace(self.aligner, revision=revision_of(self.aligner.model, self.aligner.revision))
        return replace(self, revision=revision_of(self.model, self.revision), aligner=aligner)

    def open(self, source_lang: str) -> Any:
        """A recogniser for one stream; streams that differ in nothing that the models know of share these."""
        from agent.asr.silero_vad import VoiceDetector
        from agent.asr.streaming import StreamingRecogniser

        shared = replace(self, hypotheses_to_agree=1), source_lang
        with _lock:
            if shared not in _loaded:
                _loaded[shared] = self.load(source_lang)
            speech_to_text, word_times = _loaded[shared]
        return StreamingRecogniser(
            speech_to_text, word_times, VoiceDetector(), self.max_live_s, self.hypotheses_to_agree
        )
