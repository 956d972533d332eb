"""Audio to words with Voxtral Realtime: what it is asked for a tail that grows, and what the answer says.

The model writes one token for each 80 ms of audio, a fixed delay after it was heard, and never takes one back. So a
request is the audio of the whole tail and the tokens written for it so far; what is new is only the tokens for the new
audio. It needs no state in the engine: a lost engine loses no text, and streams are batched as they come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from agent.asr.commit import loop_free, normalize
from agent.asr.contract import SAMPLE_RATE_HZ, Samples
from agent.asr.qwen3.audio import MAX_AUDIO_S, check
from agent.asr.qwen3.engine import Generated, Transcription
from agent.asr.qwen3.prompt import collapse_rounds
from agent.asr.qwen3.words import TranscriptWord, split_words
from agent.asr.streaming import Before
from agent.asr.voxtral.checkpoint import LOOK_AHEAD_SAMPLES, TOKEN_SAMPLES, Checkpoint

NOTHING = Generated((), ())
_SPACE = b" \t\n\r\v\f"


class Generator(Protocol):
    """Runs the model. Thread-safe."""

    def generate(self, ids: Sequence[int], audio: Samples, n_new: int) -> Generated:
        """Greedy continuation of ``ids`` by ``n_new`` tokens. ``audio``: one token's samples for each of both, but for
        the last new one, and perhaps `LOOK_AHEAD_SAMPLES`."""


@dataclass(frozen=True)
class Heard(Transcription):
    """A transcription, and what the next request goes on from.

    ``written``: the tokens for audio that was there, silence before it and padding after it left out; ``starts``: where
    each of ``sounded``, the words as they are compared, begins in them, then where the rest begins; ``lead``: samples
    of silence before the clip that keep it on the grid of tokens.
    """

    written: Generated = NOTHING
    starts: tuple[int, ...] = (0,)
    sounded: tuple[str, ...] = ()
    lead: int = 0


@dataclass
class _Chunk:
    """What is written between two spaces. ``first``, ``end``: its tokens; ``log_prob``: of the least likely one."""

    first: int
    end: int
    log_prob: float
    data: bytearray


class Transcriber:
    """Speech to text. The model tells the language by itself; none can be forced."""

    def __init__(self, generator: Generator, checkpoint: Checkpoint) -> None:
        self._generator = generator
        self._checkpoint = checkpoint
        n_late = len(checkpoint.prompt) - checkpoint.n_left_pad
        self.delay_s = n_late * TOKEN_SAMPLES / SAMPLE_RATE_HZ

    def transcribe(
        self, samples: Samples, previous: str = "", before: Before[Heard] | None = None, is_over: bool = False
    ) -> Heard:
        """What ``samples`` (float32 mono 16 kHz, at most 300 s) say.

        ``before`` and ``previous``, the words of it that still count, spare what has been written already. Words of the
        last `delay_s` are missing unless the clip ``is_over``. ValueError for audio that is not finite and 1-D.
        """
        checked = check(samples)
        if len(checked) > MAX_AUDIO_S * SAMPLE_RATE_HZ:
            raise ValueError(f"{len(checked) / SAMPLE_RATE_HZ:.1f} s of audio are more than {MAX_AUDIO_S:.0f} s")
        known, lead = self._kept(previous, before)
        prompt = self._checkpoint.prompt
        audio = np.concatenate([np.zeros(self._checkpoint.n_left_pad * TOKEN_SAMPLES + lead, np.float32), checked])
        n_heard = n_written = max(0, (len(audio) - LOOK_AHEAD_SAMPLES) // TOKEN_SAMPLES + 1 - len(prompt))
        if is_over:
            padding = -len(audio) % TOKEN_SAMPLES + self._checkpoint.n_right_pad * TOKEN_SAMPLES
            audio = np.pad(audio, (0, padding))
            n_written = len(audio) // TOKEN_SAMPLES + 1 - len(prompt)
        else:
            audio = audio[: (len(prompt) + n_heard - 1) * TOKEN_SAMPLES + LOOK_AHEAD_SAMPLES]
        ids, log_probs = known.ids, known.log_probs
        if n_written > len(ids):
            new = self._generator.generate((*prompt, *ids), audio, n_written - len(ids))
            ids, log_probs = (*ids, *new.ids), (*log_probs, *new.log_probs)
        return self._read(Generated(ids, log_probs), n_heard, lead, is_over)

    def _kept(self, previous: str, before: Before[Heard] | None) -> tuple[Generated, int]:
        """Tokens written already for the clip, and the samples of silence before it. None of them when words and
        tokens do not match: then the clip is transcribed anew."""
        nothing = NOTHING, 0
        if before is None:
            return nothing
        heard = before.transcription
        live = [word for word in map(normalize, previous.split()) if word]
        n_gone = len(heard.sounded) - len(live)
        n_cut, lead = divmod(heard.lead + before.n_cut, TOKEN_SAMPLES)
        if n_gone < 0 or list(heard.sounded[n_gone:]) != live:
            return nothing
        ids, log_probs = heard.written.ids, heard.written.log_probs
        first = min(heard.starts[n_gone], len(ids))
        if n_cut > first:
            return nothing
        # Where the words were that are gone, nothing has been written.
        gone = [index for index in range(first if n_gone else 0) if self._checkpoint.piece(ids[index])]
        blank = max(n_cut, gone[-1] + 1 if gone else 0)
        blanks = (self._checkpoint.pad_id,) * (blank - n_cut)
        return Generated((*blanks, *ids[blank:]), (*(0.0,) * len(blanks), *log_probs[blank:])), lead

    def _read(self, written: Generated, n_heard: int, lead: int, is_over: bool) -> Heard:
        chunks = self._chunks(written)
        n_ids, rest = len(written.ids), len(written.ids)
        if not is_over and chunks and chunks[-1].end == n_ids:
            rest = chunks.pop().first  # its word may go on
        found: list[tuple[TranscriptWord, _Chunk]] = []
        for chunk in chunks:
            text = collapse_rounds(chunk.data.decode("utf-8", "ignore"))
            found += [(word, chunk) for word in split_words(text)]
        found = [found[index] for index in loop_free([word.text for word, _ in found])]
        sounded = [(normalize(word.text), chunk.first) for word, chunk in found if normalize(word.text)]
        return Heard(
            tuple(word for word, _ in found),
            tuple(chunk.log_prob for _, chunk in found),
            " ".join(word.text for word, _ in found),
            Generated(written.ids[:n_heard], written.log_probs[:n_heard]),
            (*(start for _, start in sounded), rest),
            tuple(word for word, _ in sounded),
            lead,
        )

    def _chunks(self, written: Generated) -> list[_Chunk]:
        """What is written, at its spaces. Control tokens write nothing."""
        chunks: list[_Chunk] = []
        is_open = False
        for index, (token, log_prob) in enumerate(zip(written.ids, written.log_probs, strict=True)):
            for byte in self._checkpoint.piece(token):
                if byte in _SPACE:
                    is_open = False
                    continue
                if not is_open:
                    chunks.append(_Chunk(index, index, log_prob, bytearray()))
                    is_open = True
                chunks[-1].data.append(byte)
                chunks[-1].end = index + 1
                chunks[-1].log_prob = min(chunks[-1].log_prob, log_prob)
        return chunks
