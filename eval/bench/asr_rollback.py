"""What ``asr.qwen3.rollback_tokens`` saves and changes: the last transcript but its last tokens is taken as given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

import soundfile
from tqdm import tqdm

from agent.asr.contract import SAMPLE_RATE_HZ, Samples
from agent.asr.qwen3.audio import AudioInput
from agent.asr.qwen3.checkpoint import Checkpoint
from agent.asr.qwen3.engine import Generated, Generator, Transcriber
from agent.asr.qwen3.hf import HFGenerator
from agent.asr.qwen3.prompt import recognition_prompt
from eval.bench.asr_windows import CHUNK_S, TIMEOUT_S, one_thread, random_recogniser
from eval.bench.parts import Options
from eval.bench.result import Cell, Result

ROLLBACKS = (0, 2, 5, 10, 20)
FROM_S, TO_S = 2.0, 28.0
TOKENS_PER_S = 4.0
"""About what an English talk has."""
MAX_TALKS = 2
ABOUT = (
    "A live tail grows from 2 s to 28 s by chunks of 0.85 s and is transcribed each time, on Transformers; rollback: "
    "all but so many last tokens of the last transcript are taken as given, 0: none, everything is decoded afresh. "
    "Decoded tokens per request; text: requests whose text is not that of decoding afresh; beginning: share of their "
    "words that both have in common from the start, mean over all requests. **Random weights**: such a model changes "
    "its mind about everything with each new sound, a trained one about little, so text and beginning show the worst "
    "case and nothing about real speech. It never ends either: answers are cut at 4 tokens per second of audio; and "
    "it repeats itself: what is cut of a loop is decoded again, so that less is saved than where a model says "
    "something."
)


class FixedRate:
    """A `Generator` whose answers have `TOKENS_PER_S`, what the prompt already holds of them included."""

    def __init__(self, generator: Generator, checkpoint: Checkpoint, language: str) -> None:
        self._generator = generator
        self._checkpoint = checkpoint
        self._language = language
        self.n_decoded = 0

    def generate(self, ids: Sequence[int], audio: AudioInput, max_new_tokens: int) -> Generated:
        """Greedy continuation of ``ids``."""
        n_plain = len(self._checkpoint.encode(recognition_prompt(len(audio.pieces), self._language)))
        n_wanted = max(1, round(TOKENS_PER_S * audio.duration_s) - (len(ids) - n_plain))
        answer = self._generator.generate(ids, audio, min(n_wanted, max_new_tokens))
        self.n_decoded += len(answer.ids)
        return answer


def measure(options: Options) -> Result:
    """The first talks."""
    talks = [soundfile.read(talk, dtype="float32", stop=round(TO_S * SAMPLE_RATE_HZ))[0] for talk in options.talks]
    runs: dict[int, tuple[list[str], int]] = {}
    with TemporaryDirectory() as folder, one_thread():
        checkpoint, n_parameters = random_recogniser(Path(folder), "tiny")
        generator = HFGenerator(checkpoint, TIMEOUT_S)
        for rollback in tqdm(ROLLBACKS, "asr-rollback", unit="setting"):
            runs[rollback] = transcribe(FixedRate(generator, checkpoint, "English"), checkpoint, talks, rollback)
    columns = ("rollback, tokens", "decoded tokens", "text differs", "of", "common beginning")
    rows = tuple((rollback, *summarise(run, runs[0][0])) for rollback, run in runs.items())
    settings = {"talks": [talk.stem for talk in options.talks[:MAX_TALKS]], "parameters": n_parameters}
    return Result("asr-rollback", "Taking the last transcript as given", ABOUT, columns, rows, settings)


def transcribe(
    generator: FixedRate, checkpoint: Checkpoint, talks: Sequence[Samples], rollback: int
) -> tuple[list[str], int]:
    """Text of every request, and tokens decoded for all."""
    transcriber = Transcriber(generator, checkpoint, "English", rollback_tokens=rollback)
    texts: list[str] = []
    for talk in talks[:MAX_TALKS]:
        previous = ""
        for number in range(int((TO_S - FROM_S) / CHUNK_S)):
            tail = talk[: round((FROM_S + number * CHUNK_S) * SAMPLE_RATE_HZ)]
            words = transcriber.transcribe(tail, previous).words
            previous = " ".join(word.text for word in words)
            texts.append(previous)
    return texts, generator.n_decoded


def summarise(run: tuple[list[str], int], afresh: Sequence[str]) -> tuple[Cell, ...]:
    """Figures of a table row."""
    texts, n_decoded = run
    n_different = sum(text != other for text, other in zip(texts, afresh, strict=True))
    shared = mean(_common_share(text.split(), other.split()) for text, other in zip(texts, afresh, strict=True))
    return n_decoded / len(texts), n_different, len(texts), shared


def _common_share(words: Sequence[str], others: Sequence[str]) -> float:
    same = [one == other for one, other in zip(words, others, strict=False)]
    n_same = same.index(False) if False in same else len(same)
    return n_same / len(same) if same else float(len(words) == len(others))
