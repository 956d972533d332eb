"""The voxtral recogniser on a talk whose words are known: nothing lost or doubled, and what it asks for.

In the place of the model stands one that writes the talk's words as Voxtral Realtime would: token by token, the delay
after each was spoken, going on from what is given as written.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_asr_streaming import committed, stream, talk

from agent.asr.contract import SAMPLE_RATE_HZ, Samples
from agent.asr.qwen3.engine import Generated, Transcription
from agent.asr.silero_vad import VoiceDetector
from agent.asr.streaming import StreamingRecogniser
from agent.asr.voxtral.checkpoint import LOOK_AHEAD_SAMPLES, TOKEN_SAMPLES, Checkpoint
from agent.asr.voxtral.transcriber import Transcriber
from agent.words import SourceWord

PAD = 32
N_LEFT_PAD = 32
DELAY = 6
N_RIGHT_PAD = DELAY + 1 + 10
FIRST = 100
"""Id of the first token that writes something."""
KNOWN_BY = 64
"""A clip is found in the talk by so many samples."""


class Writer:
    """A `Generator` and the aligner: knows every word of ``audio``."""

    def __init__(self, audio: Samples, words: tuple[SourceWord, ...]) -> None:
        self.bytes = audio.tobytes()
        self.words = words
        # Longer words take two tokens.
        self.pieces = [(f" {w.text[:5]}", w.text[5:]) if len(w.text) > 5 else (f" {w.text}",) for w in words]
        self.vocabulary = sorted({piece for pieces in self.pieces for piece in pieces})
        self.n_new: list[int] = []
        self.n_afresh = 0
        self.clip_s: tuple[float, float] = (0.0, 0.0)

    def piece(self, token: int) -> bytes:
        return b"" if token < FIRST else self.vocabulary[token - FIRST].encode()

    def generate(self, ids: Sequence[int], audio: Samples, n_new: int) -> Generated:
        self.n_new.append(n_new)
        prompt, written = ids[: 1 + N_LEFT_PAD + DELAY], ids[1 + N_LEFT_PAD + DELAY :]
        assert list(prompt) == [1, *[PAD] * (N_LEFT_PAD + DELAY)]
        self.n_afresh += not written
        assert len(ids) + n_new - 1 == (len(audio) - LOOK_AHEAD_SAMPLES) // TOKEN_SAMPLES or not audio[-1]
        queue = self.queue(audio)
        # What is given as written is what this clip says: tokens and audio fit each other.
        said = [token for token in written if token >= FIRST]
        assert said == [token for token, _ in queue[: len(said)]]
        queue = queue[len(said) :]
        new: list[int] = []
        for place in range(len(written), len(written) + n_new):
            is_due = queue and queue[0][1] <= place
            new.append(queue.pop(0)[0] if is_due else PAD)
        return Generated(tuple(new), (-0.1,) * n_new)

    def queue(self, audio: Samples) -> list[tuple[int, int]]:
        """Tokens of the clip's words, and the place from which on each may be written."""
        first = int(np.flatnonzero(audio)[0])
        start = self.bytes.index(audio[first : first + KNOWN_BY].tobytes()) // 4
        end = start + int(np.flatnonzero(audio)[-1]) + 1 - first
        queue = []
        for word, pieces in zip(self.words, self.pieces, strict=True):
            if word.start_s * SAMPLE_RATE_HZ >= start - 160 and word.end_s * SAMPLE_RATE_HZ <= end:
                heard = (word.end_s * SAMPLE_RATE_HZ - start + first) / TOKEN_SAMPLES - N_LEFT_PAD
                due = round(heard) + len(word.text) % 4  # some come late
                queue += [(FIRST + self.vocabulary.index(piece), due) for piece in pieces]
        return queue

    def texts(self, transcription: Transcription) -> tuple[str, ...]:
        return tuple(word.text for word in transcription.words)

    def align(self, samples: Samples, transcription: Transcription, start_s: float = 0.0) -> tuple[SourceWord, ...]:
        end_s = start_s + len(samples) / SAMPLE_RATE_HZ
        inside = [word for word in self.words if word.start_s >= start_s - 0.01 and word.end_s <= end_s + 0.01]
        texts = self.texts(transcription)
        assert texts == tuple(word.text for word in inside[: len(texts)])
        return tuple(inside[: len(texts)])


def recogniser(writer: Writer, max_live_s: float, agree: int) -> StreamingRecogniser:
    tokenizer: Any = SimpleNamespace(
        instruct_tokenizer=SimpleNamespace(tokenizer=SimpleNamespace(id_to_byte_piece=writer.piece))
    )
    prompt = (1, *[PAD] * (N_LEFT_PAD + DELAY))
    checkpoint = Checkpoint("", "", tokenizer, prompt, N_LEFT_PAD, N_RIGHT_PAD, PAD)
    return StreamingRecogniser(Transcriber(writer, checkpoint), writer, VoiceDetector(), max_live_s, agree)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chunk_s", "max_live_s", "agree"),
    [(0.85, 28.0, 2), (1.5, 8.0, 2), (0.3, 28.0, 2), (9.0, 28.0, 2), (0.85, 28.0, 1), (0.3, 6.0, 1), (0.85, 2.96, 2)],
)
def test_no_word_is_lost_or_doubled(chunk_s: float, max_live_s: float, agree: int) -> None:
    audio, words = talk()
    writer = Writer(audio, words)
    hypotheses = stream(recogniser(writer, max_live_s, agree), audio, chunk_s)
    got = committed(hypotheses)
    assert [word.text for word in got] == [word.text for word in words]
    assert sum(segment[-1].text.endswith(".") for h in hypotheses for segment in h.committed) > 8
    for hypothesis in hypotheses:
        times = [time for word in hypothesis.live for time in (word.start_s, word.end_s)]
        assert times == sorted(times)
        assert not times or times[-1] <= hypothesis.now_s
    # Each token is written once, but for what draws out the end before a pause.
    assert sum(writer.n_new) < 1.4 * len(audio) / TOKEN_SAMPLES


def test_a_stream_begins_anew() -> None:
    audio, words = talk()
    listening = recogniser(Writer(audio, words), 28.0, 2)
    clip = audio[: 12 * SAMPLE_RATE_HZ]
    once = stream(listening, clip, 0.85)
    listening.reset()
    assert stream(listening, clip, 0.85) == once
    assert committed(once)
