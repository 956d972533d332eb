"""A recogniser: every half second of audio is the next word of a known text. A stand-in for one of your own."""

from dataclasses import dataclass

from agent.asr.contract import SAMPLE_RATE_HZ, RecogniserConfig, Samples
from agent.keys import key
from agent.words import Hypothesis, SourceWord


@dataclass(frozen=True)
class Metronome(RecogniserConfig):
    text: str = "Last week the old teacher repaired the machine."
    word_s: float = key(0.5, low=0.1)

    def open(self, source_lang: str) -> "MetronomeStream":
        return MetronomeStream(self)


class MetronomeStream:
    def __init__(self, config: Metronome) -> None:
        self.config, self.words, self.heard_s = config, tuple[SourceWord, ...](), 0.0

    def push(self, samples: Samples) -> Hypothesis:
        self.heard_s += len(samples) / SAMPLE_RATE_HZ
        texts, lasts_s = self.config.text.split(), self.config.word_s
        timed = (SourceWord(text, n * lasts_s, (n + 1) * lasts_s) for n, text in enumerate(texts))
        self.words = tuple(word for word in timed if word.end_s <= self.heard_s)
        return Hypothesis((), self.words, self.heard_s)

    def flush(self) -> Hypothesis:
        return Hypothesis((self.words,), (), self.heard_s)

    def reset(self) -> None:
        self.words, self.heard_s = (), 0.0
