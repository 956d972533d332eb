"""Recognise a talk once, translate what was heard under any number of settings."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from agent import stages, trace
from agent.asr.contract import SAMPLE_RATE_HZ
from agent.asr.record import SUFFIX, Recording, read_recording
from agent.config import AgentConfig
from agent.errors import UserError
from agent.models import ModelCache, build_recogniser
from agent.mt.drafter import Draft, Drafter, DraftRequest, Head, RowConvention
from agent.mt.head_sets import Selection
from agent.mt.policy.alignatt import AlignAtt
from agent.mt.translator import Translator
from agent.mt.units import surface_tokens
from agent.run.folder import write_atomically
from agent.run.talks import decode
from agent.session import Session
from agent.trace import TraceWriter


def record_talk(talk: Path, config: AgentConfig, kept: Path) -> Recording:
    """What the configuration's recogniser hears in a talk, chunk by chunk; made unless the file ``kept`` is there."""
    if not kept.is_file():
        with tempfile.TemporaryDirectory() as scratch:
            recogniser = build_recogniser(replace(config, record_asr=scratch))
            samples = (decode(talk) / 32768.0).astype(np.float32)
            step = int(config.speech_chunk_size * SAMPLE_RATE_HZ)
            for start in range(0, len(samples), step):
                recogniser.push(samples[start : start + step])
            recogniser.flush()
            recogniser.reset()
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(kept, next(Path(scratch).glob(f"*{SUFFIX}")).read_text(encoding="utf-8"))
    return read_recording(kept)


@dataclass
class Models:
    """Translators of one direction whose drafts are remembered: settings share many sources and accepted prefixes.

    Requests for no rows are asked with the head set's rows, so that they are the same as those of `alignatt`. Without
    ``remember`` every draft is computed, as times of computation want it.
    """

    remember: bool = True
    loaded: ModelCache = field(default_factory=ModelCache)
    _seen: dict[DraftRequest, Draft] = field(default_factory=dict)
    _heads: tuple[Head, ...] = ()
    _convention: RowConvention = "predicting"
    _drafter: Drafter | None = None

    def translator(self, config: AgentConfig) -> Translator:
        """The translator of a configuration, drafting through this memory."""
        if not self.remember:
            return self.loaded.translator(config, config.source_lang, config.target_lang)
        translator = self.loaded.translator(config, config.source_lang, config.target_lang)
        selection = translator.selection
        if selection is None:
            selection = self._selection(config)
        if selection is not None:
            self._heads, self._convention = selection.heads, selection.convention
        self._drafter = translator.drafter
        return replace(translator, drafter=self)

    def _selection(self, config: AgentConfig) -> Selection | None:
        """What `alignatt` would read; None where there is no head set."""
        aligning = replace(config, policy=AlignAtt())
        try:
            return self.loaded.translator(aligning, config.source_lang, config.target_lang).selection
        except UserError:
            return None

    def draft(self, request: DraftRequest) -> Draft:
        """As the drafter behind it."""
        assert self._drafter is not None
        if not request.heads:
            request = replace(request, heads=self._heads, row_convention=self._convention)
        # Whole drafts, of which every setting takes what it would have asked for.
        request = replace(request, guess_ids=(), stop=None)
        key = replace(request, stream="")
        if key not in self._seen:
            self._seen[key] = self._drafter.draft(request)
        return self._seen[key]

    def forget(self, stream: str) -> None:
        """As the drafter behind it; what was drafted stays known."""
        if self._drafter is not None:
            self._drafter.forget(stream)


def translate(
    config: AgentConfig, models: Models, recordings: Mapping[str, Recording], tracer: TraceWriter | None = None
) -> Iterator[dict[str, Any]]:
    """Lines of a simulstream log: every recorded stream through a session of its own. ``tracer`` gets each step."""
    translator = models.translator(config)
    yield {"model_loading_time": 0.0}
    for number, (name, recording) in enumerate(recordings.items()):
        session = Session(translator, config.session, f"policies-{number}")
        yield {"id": number, "metadata": {"wav_name": f"{name}.wav"}}
        n_samples = 0
        for index, step in enumerate(recording.steps):
            n_samples += step.n_samples
            heard = [(step.hypothesis, step.n_samples / SAMPLE_RATE_HZ)]
            heard += [(recording.final, 0.0)] if index == len(recording.steps) - 1 else []
            text, computation_s = "", 0.0
            for hypothesis, audio_s in heard:
                with stages.measure() as timer:
                    records = session.step(hypothesis)
                computation_s += timer.total_s
                text += "".join(record.accepted for record in records)
                if tracer:
                    tracer.write(trace.step(number, hypothesis, records, config.target_lang, 0.0, audio_s, timer))
            yield {
                "id": number,
                "total_audio_processed": n_samples / SAMPLE_RATE_HZ,
                "computation_time": computation_s,
                "generated_tokens": [token for token in surface_tokens(text, config.target_lang) if token],
                "deleted_tokens": [],
            }
        session.close()
