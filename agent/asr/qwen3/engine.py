"""The recogniser and the aligner: what they are asked and what they answer, whichever library runs the model.

A `Generator` or `Classifier` (beside this file: transformers.py, vllm.py) runs token ids and audio through a model;
`Transcriber` and `Aligner` make those ids and read the result, so that both libraries are asked the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from agent.asr.commit import loop_free
from agent.asr.contract import Samples
from agent.asr.qwen3.audio import AudioInput, prepare
from agent.asr.qwen3.checkpoint import Checkpoint
from agent.asr.qwen3.prompt import alignment_prompt, parse_answer, recognition_prompt
from agent.asr.qwen3.words import TranscriptWord, split_words, word_times
from agent.words import SourceWord

TOKENS_PER_S = 12
"""Room for the transcript: more than anybody speaks (English talks: 3 to 5)."""
MIN_NEW_TOKENS = 32


@dataclass(frozen=True)
class Generated:
    """Greedy continuation, without end token. ``log_probs``: natural logarithm of each token's probability."""

    ids: tuple[int, ...]
    log_probs: tuple[float, ...]


class Generator(Protocol):
    """Runs a recogniser. Thread-safe."""

    def generate(self, ids: Sequence[int], audio: AudioInput, max_new_tokens: int) -> Generated:
        """Continue ``ids``, in which one audio pad stands for each piece of ``audio``."""


class Classifier(Protocol):
    """Runs an aligner. Thread-safe."""

    def classify(self, ids: Sequence[int], audio: AudioInput) -> list[int]:
        """The likeliest class at each time marker of ``ids``, in which one audio pad stands for each piece."""


@dataclass(frozen=True)
class Transcription:
    """``words``: what was said, in order, loops cut. ``log_probs``: of each word's least likely token, or None."""

    words: tuple[TranscriptWord, ...]
    log_probs: tuple[float | None, ...]
    text: str


class Transcriber:
    """Speech to text. ``language``: English name of the language that is forced, empty to let the model tell."""

    def __init__(
        self,
        generator: Generator,
        checkpoint: Checkpoint,
        language: str = "",
        context: str = "",
        reuse_windows: bool = True,
    ) -> None:
        self._generator = generator
        self._checkpoint = checkpoint
        self._language = language
        self._context = context
        self._reuse_windows = reuse_windows

    def transcribe(self, samples: Samples) -> Transcription:
        """What ``samples`` say: float32 mono 16 kHz, at most 300 s. ValueError for audio that is not finite and 1-D."""
        audio = prepare(samples, self._reuse_windows)
        prompt = recognition_prompt(len(audio.pieces), self._language, self._context)
        room = MIN_NEW_TOKENS + math.ceil(TOKENS_PER_S * audio.duration_s)
        generated = self._generator.generate(self._checkpoint.encode(prompt), audio, room)
        tokenizer = self._checkpoint.tokenizer
        raw = tokenizer.decode(list(generated.ids), skip_special_tokens=True)
        answer = parse_answer(raw, self._language)
        words = split_words(answer.text)
        kept = loop_free([word.text for word in words])
        log_probs = _word_log_probs(tokenizer, generated, raw, len(words))
        return Transcription(
            tuple(words[index] for index in kept), tuple(log_probs[index] for index in kept), answer.text
        )


class Aligner:
    """Text to word times."""

    def __init__(self, classifier: Classifier, checkpoint: Checkpoint) -> None:
        self._classifier = classifier
        self._checkpoint = checkpoint

    def texts(self, transcription: Transcription) -> tuple[str, ...]:
        """The words that `align` is going to return."""
        if not any(word.unit for word in transcription.words):
            return ()
        return tuple(word.text for word in transcription.words)

    def align(self, samples: Samples, transcription: Transcription, start_s: float = 0.0) -> tuple[SourceWord, ...]:
        """The words of ``transcription`` with times. ``samples``: the audio, which begins at ``start_s``."""
        words = transcription.words
        units = [word.unit for word in words if word.unit]
        if not units:
            return ()
        audio = prepare(samples)
        ids = self._checkpoint.encode(alignment_prompt(len(audio.pieces), units))
        classes = self._classifier.classify(ids, audio)
        timed = word_times(words, classes, start_s, audio.duration_s)
        return tuple(
            replace(word, log_prob=log_prob) for word, log_prob in zip(timed, transcription.log_probs, strict=True)
        )


def _word_log_probs(tokenizer: Any, generated: Generated, raw: str, n_words: int) -> list[float | None]:
    """Log-probability of the least likely token of each word; None for all when words and tokens cannot be matched."""
    unknown: list[float | None] = [None] * n_words
    if len(raw.split()) != n_words or "\ufffd" in raw:
        return unknown
    lengths = [_n_bytes(tokenizer, token) for token in generated.ids]
    data = raw.encode()
    if sum(lengths) != len(data):
        return unknown
    lowest: list[float | None] = []
    in_word, position = False, 0
    for length, log_prob in zip(lengths, generated.log_probs, strict=True):
        for byte in data[position : position + length]:
            if byte in b" \t\n\r\v\f":
                in_word = False
                continue
            if not in_word:
                lowest.append(log_prob)
                in_word = True
            lowest[-1] = min(log_prob, lowest[-1] if lowest[-1] is not None else log_prob)
        position += length
    return lowest if len(lowest) == n_words else unknown


def _n_bytes(tokenizer: Any, token: int) -> int:
    """UTF-8 length of a token of a byte-level vocabulary, in which a character stands for a byte."""
    text = tokenizer.convert_ids_to_tokens(token)
    if text is None or token in tokenizer.all_special_ids:  # a model may have more ids than its tokenizer
        return 0
    return len(text.encode()) if token in tokenizer.added_tokens_decoder else len(text)
