"""The embedded recogniser: streaming pocketsphinx, sentences told apart by their pauses.

A model folder holds ``words.dict`` (CMU phones), a language model (``lm.bin``, ``lm.arpa.gz`` or ``lm.arpa``) and may
hold ``sphinx.json`` with decoder options (``{"lw": 8.0}``). The acoustic model comes with the pocketsphinx package.
"""

from __future__ import annotations

import json
import re
import weakref
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pocketsphinx import Config, Decoder

from agent.asr.commit import best_cut, clamp_times, collapse_loops, count_stability
from agent.asr.contract import SAMPLE_RATE_HZ, RecogniserConfig, Samples
from agent.asr.webrtc_vad import BLOCK, BLOCK_S, SpeechDetector
from agent.catalogue import NamedModel
from agent.errors import UserError, nearest
from agent.keys import key
from agent.paths import resolve
from agent.stages import stage
from agent.words import Hypothesis, SourceWord

LANGUAGE_MODELS = ("lm.bin", "lm.arpa.gz", "lm.arpa")
_FRAMES_PER_S = 100
_LEAD_BLOCKS = 12
"""Audio decoded before the first speech block of an utterance."""
_TAIL_BLOCKS = 12
"""Silence decoded after its last; what follows stays free to lead the next utterance."""
_MIN_COVERAGE = 0.5
"""Words that fill less of the sounding audio than this were imagined in noise."""
_MIN_LEVEL_SPREAD_DB = 8.0
"""Sound whose loudness varies less than this (10th to 90th percentile) is noise, not speech."""

_Block = npt.NDArray[np.int16]
_Segments = list[tuple[SourceWord, ...]]


@dataclass(frozen=True)
class SphinxConfig(RecogniserConfig):
    """The ``sphinx`` recogniser: pocketsphinx with a dictionary and a language model."""

    model: str = "demo/asr"
    """Folder with words.dict and lm.bin, lm.arpa.gz or lm.arpa."""
    max_live_s: float = key(28.0, low=2.0, high=300.0)
    """Upper bound of the live tail: when no sentence ends, it is cut at the best pause."""
    sentence_pause_s: float = key(0.45, low=0.05)
    """A silence of this length ends a sentence."""

    @property
    def models(self) -> tuple[NamedModel, ...]:
        """The one folder."""
        return (NamedModel("asr.model", self.model, backend="pocketsphinx"),)

    def open(self, source_lang: str) -> SphinxRecogniser:
        """A recogniser on a decoder that no other stream uses. The language is that of the folder."""
        return SphinxRecogniser(self.model, self.sentence_pause_s, self.max_live_s)


class SphinxRecogniser:
    """One stream. Times are absolute stream seconds; how audio is split into pushes does not change the text.

    A silence of ``sentence_pause_s`` ends a sentence, which is committed with a full stop. An utterance that reaches
    ``max_live_s`` is cut at its best pause and goes on without one. Decoders are reused between instances.
    """

    def __init__(
        self, model: str | Path = "demo/asr", sentence_pause_s: float = 0.45, max_live_s: float = 28.0
    ) -> None:
        self._pause_blocks = max(1, round(sentence_pause_s / BLOCK_S))
        self._tail_blocks = min(_TAIL_BLOCKS, self._pause_blocks)
        self._max_blocks = int(max_live_s / BLOCK_S)
        self._decoder, idle = _borrow(resolve(model))
        weakref.finalize(self, idle.append, self._decoder).atexit = False
        self._is_fresh = True
        self.reset()

    def reset(self) -> None:
        """Forget the stream; time starts again at 0. Idempotent."""
        if not self._is_fresh:
            _refresh(self._decoder)
            self._is_fresh = True
        self._in_utterance = False
        self._detector = SpeechDetector()
        self._rest: _Block = np.zeros(0, np.int16)
        self._heard_samples = 0
        self._heard_blocks = 0
        self._lead: deque[_Block] = deque(maxlen=_LEAD_BLOCKS)
        self._blocks: list[_Block] = []
        self._levels_db: list[float] = []
        self._n_decoded = 0
        self._start_block = 0
        self._committed_until_s = 0.0
        self._live: tuple[SourceWord, ...] = ()

    def push(self, samples: Samples) -> Hypothesis:
        """Hear more audio: float32 mono 16 kHz in [-1, 1]."""
        if samples.ndim != 1 or not np.isfinite(samples).all():
            raise ValueError(f"samples must be one channel of finite numbers, not shape {samples.shape}")
        committed: _Segments = []
        if len(samples):
            self._heard_samples += len(samples)
            scaled = np.clip(np.round(np.asarray(samples, np.float64) * 32768.0), -32768, 32767).astype(np.int16)
            audio = np.concatenate([self._rest, scaled])
            whole = len(audio) - len(audio) % BLOCK
            self._rest = audio[whole:]
            for start in range(0, whole, BLOCK):
                committed += self._hear(audio[start : start + BLOCK])
            self._live = count_stability(self._live, self._words()) if self._in_utterance else ()
        return Hypothesis(tuple(committed), self._live, self._now_s)

    def flush(self) -> Hypothesis:
        """End of the stream: everything still live is committed."""
        committed: _Segments = []
        if self._in_utterance:
            if len(self._rest):
                committed += self._hear(np.pad(self._rest, (0, BLOCK - len(self._rest))))
                self._rest = self._rest[:0]
            if self._in_utterance:
                committed += self._finish_sentence()
        self._live = ()
        return Hypothesis(tuple(committed), (), self._now_s)

    @property
    def _now_s(self) -> float:
        return self._heard_samples / SAMPLE_RATE_HZ

    def _hear(self, block: _Block) -> _Segments:
        """One block further; the segments it finished."""
        self._heard_blocks += 1
        with stage("vad"):
            self._detector.hear(block)
        if not self._in_utterance:
            self._lead.append(block)
            if self._detector.onset:
                self._start(list(self._lead))
            return []
        self._blocks.append(block)
        if self._detector.is_speech:
            self._levels_db.append(self._detector.level_db)
        silent = self._detector.silent_blocks
        if silent <= self._tail_blocks:
            self._decode()
        if silent >= self._pause_blocks and not self._detector.is_speech:
            return self._finish_sentence()
        if len(self._blocks) >= self._max_blocks:
            return self._cut()
        return []

    def _start(self, blocks: list[_Block]) -> None:
        """Begin an utterance with ``blocks``, the last ones heard."""
        self._decoder.start_utt()
        self._in_utterance, self._is_fresh = True, False
        self._start_block = self._heard_blocks - len(blocks)
        self._blocks, self._levels_db, self._n_decoded = blocks, [], 0
        self._lead.clear()
        self._decode()

    def _decode(self) -> None:
        for block in self._blocks[self._n_decoded :]:
            self._decoder.process_raw(block.tobytes(), False, False)
        self._n_decoded = len(self._blocks)

    def _finish_sentence(self) -> _Segments:
        words = self._end()
        self._lead.extend(self._blocks[self._n_decoded :])
        if not words:
            return []
        return [(*words[:-1], replace(words[-1], text=words[-1].text + "."))]

    def _cut(self) -> _Segments:
        """The utterance is as long as it may get: commit up to the best pause and hear the rest again."""
        self._decode()
        words = self._end()
        if not words:
            return []
        now_s = min(self._heard_blocks * BLOCK_S, self._now_s)
        count = best_cut(words, now_s)
        if count < len(words):
            cut_s = (words[count - 1].end_s + words[count].start_s) / 2
            first = min(max(1, round(cut_s / BLOCK_S) - self._start_block), len(self._blocks))
            self._committed_until_s = words[count - 1].end_s
            self._start(self._blocks[first:])
        return [words[:count]]

    def _end(self) -> tuple[SourceWord, ...]:
        """Close the utterance; its final words, none if it was noise."""
        self._decoder.end_utt()
        words = count_stability(self._live, self._words())
        self._in_utterance = False
        self._live = ()
        if words:
            self._committed_until_s = words[-1].end_s
        return words

    def _words(self) -> tuple[SourceWord, ...]:
        """The decoder's present words on stream time."""
        offset_s = self._start_block * BLOCK_S
        words = collapse_loops(
            [
                SourceWord(
                    re.sub(r"\(\d+\)$", "", segment.word),
                    round(offset_s + segment.start_frame / _FRAMES_PER_S, 3),
                    round(offset_s + (segment.end_frame + 1) / _FRAMES_PER_S, 3),
                )
                for segment in _segments(self._decoder)
                if not segment.word.startswith(("<", "[", "+"))
            ]
        )
        if not self._plausible(words):
            return ()
        return clamp_times(words, self._committed_until_s, self._now_s)

    def _plausible(self, words: tuple[SourceWord, ...]) -> bool:
        """Whether the utterance sounds like speech and the words account for it."""
        if not self._levels_db:
            return bool(words)
        low_db, high_db = np.percentile(self._levels_db, [10, 90])
        covered_s = sum(word.end_s - word.start_s for word in words)
        sounding_s = len(self._levels_db) * BLOCK_S
        return bool(high_db - low_db >= _MIN_LEVEL_SPREAD_DB) and covered_s >= _MIN_COVERAGE * sounding_s


def _segments(decoder: Any) -> Iterable[Any]:
    return decoder.seg() or ()


_POOL: dict[tuple[str, ...], deque[Any]] = {}
"""Decoders that no stream is using any more, by the files they were loaded from."""


def _borrow(folder: Path) -> tuple[Any, deque[Any]]:
    """A fresh decoder of this model that no other stream uses, and where to put it back."""
    # Decoders remember their files by name and read them again: the working directory may be another one then.
    dictionary, language_model, options = _model_files(folder.resolve())
    files = [dictionary, language_model, *([options] if options else [])]
    idle = _POOL.setdefault(tuple(f"{path.resolve()} {path.stat().st_mtime_ns}" for path in files), deque())
    try:
        decoder = idle.pop()
    except IndexError:
        return _load(dictionary, language_model, options), idle
    _refresh(decoder)
    return decoder, idle


def _refresh(decoder: Any) -> None:
    """Back to how it was loaded, at about 30 ms, even in the middle of an utterance.

    Setting the cepstral mean back is not enough: the acoustic model keeps the codewords of the last frames, and what
    the stream before said would show in the scores of the next.
    """
    decoder.reinit()


def _model_files(folder: Path) -> tuple[Path, Path, Path | None]:
    """Dictionary, language model and options file (if any) of a model folder."""
    advice = "set asr.model to a folder with words.dict and lm.bin, lm.arpa.gz or lm.arpa."
    if not folder.is_dir():
        raise UserError(f"No recogniser model folder {folder}: {advice}")
    dictionary = folder / "words.dict"
    if not dictionary.is_file():
        raise UserError(f"{folder} has no words.dict: {advice}")
    for name in LANGUAGE_MODELS:
        if (folder / name).is_file():
            options = folder / "sphinx.json"
            return dictionary, folder / name, options if options.is_file() else None
    raise UserError(f"{folder} has no language model: {advice}")


def _load(dictionary: Path, language_model: Path, options: Path | None) -> Any:
    """A new decoder; UserError when a file cannot be used."""
    given: dict[str, Any] = {}
    if options:
        try:
            given = json.loads(options.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{options} is not valid JSON: {error}.") from error
        if not isinstance(given, dict):
            raise UserError(f'{options} must hold decoder options, e.g. {{"lw": 8.0}}.')
    fixed = {"dict": str(dictionary), "lm": str(language_model), "samprate": SAMPLE_RATE_HZ, "loglevel": "FATAL"}
    clash = sorted(set(given) & set(fixed))
    if clash:
        raise UserError(f"{options}: option '{clash[0]}' cannot be set here; remove it.")
    try:
        return Decoder(**given, **fixed)
    except KeyError as error:
        raise UserError(f"{options}: unknown decoder option{_nearest_option(given)}") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{options}: {error}; give each decoder option a number, text or true/false.") from error
    except RuntimeError as error:
        raise UserError(
            f"pocketsphinx cannot load {language_model} with {dictionary}: make the model folder again."
        ) from error


def _nearest_option(given: dict[str, Any]) -> str:
    valid = list(Config())
    unknown = next(name for name in given if name not in valid)
    return f" '{unknown}'.{nearest(unknown, valid)}"
