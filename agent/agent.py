"""``agent.AlignAttAgent``: the toolkit's contract and nothing else.

simulstream calls ``load_model`` and the constructor once per pool slot, then per recording the languages, the chunks,
``end_of_stream`` and ``clear`` (the WebSocket server clears twice). What a stream needs lives in `agent.session`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from simulstream.server.speech_processors import SpeechProcessor
from simulstream.server.speech_processors.incremental_output import IncrementalOutput

from agent import languages, stages, trace
from agent.asr.contract import SAMPLE_RATE_HZ
from agent.config import AgentConfig, check_direction, from_namespace
from agent.models import ModelCache, build_recogniser
from agent.mt.units import surface_tokens
from agent.overlap import BesideAligner, listen
from agent.session import Session
from agent.words import Hypothesis


class AlignAttAgent(SpeechProcessor):  # type: ignore[misc]
    """Simultaneous speech translation with a recogniser, a decoder-only model and an acceptance policy.

    Output is append-only: ``deleted_tokens`` is always empty. Tokens are white-space words, or single characters when
    the target language writes no spaces.
    """

    models: ClassVar[ModelCache] = ModelCache()
    _numbers: ClassVar[itertools.count[int]] = itertools.count()

    def __init__(self, config: SimpleNamespace | AgentConfig) -> None:
        self._settings = from_namespace(config)
        super().__init__(config)
        self._source_lang = self._settings.source_lang
        self._target_lang = self._settings.target_lang
        self._recogniser = build_recogniser(self._settings)
        listen(self._recogniser, lambda expected: self._live_session().begin(expected))
        self._session: BesideAligner | None = None
        self._number = next(self._numbers)
        self._stream = 0
        self._listeners: list[trace.Listener] = []
        self._trace = trace.TraceWriter(Path(self._settings.trace)) if self._settings.trace else None

    @classmethod
    def load_model(cls, config: SimpleNamespace | AgentConfig) -> None:
        """Load and warm up the models; later calls with the same configuration reuse them."""
        cls.models.warm_up(from_namespace(config))

    @property
    def speech_chunk_size(self) -> float:
        """Seconds of audio per step."""
        return self._settings.speech_chunk_size

    def set_source_language(self, language: str) -> None:
        """Language code of the speech. UserError when the direction to the target language is not served."""
        check_direction(self._settings, language, self._target_lang)
        if language != self._source_lang:
            self._end_session()
        self._source_lang = language

    def set_target_language(self, language: str) -> None:
        """Language code of the translation. The toolkit sets it first: the direction is known with the source's."""
        languages.get(language)
        if language != self._target_lang:
            self._end_session()
        self._target_lang = language

    def add_listener(self, listener: trace.Listener) -> None:
        """Call ``listener`` with each step's trace line (see `agent.trace.step`)."""
        self._listeners.append(listener)

    def process_chunk(self, waveform: npt.NDArray[np.float32]) -> IncrementalOutput:
        """Hear a chunk (float32 mono, 16 kHz, [-1, 1]) and return what may be said now."""
        samples = np.asarray(waveform, dtype=np.float32)
        return self._step(lambda: self._recogniser.push(samples), len(samples) / SAMPLE_RATE_HZ)

    def end_of_stream(self) -> IncrementalOutput:
        """Say everything that was still held."""
        return self._step(self._recogniser.flush, 0.0)

    def tokens_to_string(self, tokens: list[str]) -> str:
        """Words joined by spaces, or characters joined by nothing."""
        return languages.get(self._target_lang).joiner.join(tokens)

    def clear(self) -> None:
        """Forget the stream; languages go back to the configuration's. Idempotent."""
        self._end_session()
        self._recogniser.reset()
        self._source_lang = self._settings.source_lang
        self._target_lang = self._settings.target_lang

    def _step(self, recognise: Callable[[], Hypothesis], audio_s: float) -> IncrementalOutput:
        with stages.measure() as timer:
            with stages.stage("asr"):
                hypothesis = self._recognised(recognise)
            asr_s = timer.total_s
            session = self._live_session()
            records = session.step(hypothesis)
            tokens = surface_tokens("".join(record.accepted for record in records), self._target_lang)
            tokens = [token for token in tokens if token]
            output = IncrementalOutput(tokens, self.tokens_to_string(tokens), [], "")
            if self._trace is not None or self._listeners:
                self._tell(trace.step(self._stream, hypothesis, records, self._target_lang, asr_s, audio_s, timer))
        return output

    def _recognised(self, recognise: Callable[[], Hypothesis]) -> Hypothesis:
        try:
            return recognise()
        except Exception:
            if self._session is not None:
                self._session.drop()
            raise

    def _tell(self, line: dict[str, Any]) -> None:
        if self._trace is not None:
            self._trace.write(line)
        for listener in self._listeners:
            listener(line)

    def _end_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
            self._stream += 1

    def _live_session(self) -> BesideAligner:
        if self._session is None:
            translator = self.models.translator(self._settings, self._source_lang, self._target_lang)
            session = Session(translator, self._settings.session, f"{self._number}.{self._stream}")
            self._session = BesideAligner(session)
        return self._session
