"""Training examples: what a live translator sees of a document, and what it should say.

Each example is a prompt built by the run-time layout (`agent.mt.prompt`) and a target. Half of the sources are cut
somewhere, as in a running stream, with the target that is already certain; most are written the way a recogniser
writes them, with dropped, confused and added words; some targets begin with a committed mistake that the loss ignores,
so that the model learns to go on from it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.mt.prompt import PromptLayout
from demo.language import Meaning, Realisation, Unit, realise, sample_document, spoken_form, spoken_units
from demo.language.realisation import join

DIRECTIONS = (("en", "de"), ("en", "it"), ("en", "zh"))
IGNORED = -100


@dataclass(frozen=True)
class Noise:
    """Rates of everything that makes a source differ from the clean, complete sentence."""

    spoken: float = 0.75
    """Share of sources as a recogniser without case and punctuation writes them; the rest is clean text."""
    confused: float = 0.05
    dropped: float = 0.02
    added: float = 0.01
    partial: float = 0.5
    """Share of live sentences cut before their end."""
    fresh: float = 0.2
    """Share of partial sources whose last word is misheard."""
    late: float = 0.08
    """Share of targets in the order of somebody who has committed early."""
    wrong_prefix: float = 0.15
    """Share of targets with one wrong, ignored word."""


@dataclass(frozen=True)
class Example:
    """Token ids of one training sequence and its labels (`IGNORED` where there is no loss)."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]


class ExampleMaker:
    """Draws examples. ``confusions``: for a spoken word, the words a recogniser takes for it."""

    def __init__(
        self,
        tokenizer: Any,
        layouts: Mapping[str, PromptLayout],
        confusions: Mapping[str, Sequence[str]],
        held_out: frozenset[str],
        noise: Noise | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._layouts = layouts
        self._confusions = confusions
        self._words = sorted(confusions)
        self._held_out = held_out
        self._noise = noise or Noise()
        self._end = [int(i) for i in tokenizer("<turn|>", add_special_tokens=False)["input_ids"]]

    def sample(self, rng: random.Random, max_words: int) -> Example:
        """One example whose live sentence has at most ``max_words`` English words."""
        while True:
            meanings = sample_document(rng, 1 if max_words < 10 or rng.random() < 0.4 else 2)
            sources = [realise(meaning, "en") for meaning in meanings]
            if len(sources[-1].units) <= max_words and not any(s.text in self._held_out for s in sources):
                break
        target_lang = rng.choice(DIRECTIONS)[1]
        spoken = rng.random() < self._noise.spoken
        words: list[str] = []
        units: list[Unit] = []
        for meaning, source in zip(meanings[:-1], sources[:-1], strict=True):
            words += self._heard(rng, source, len(source.units), spoken, complete=True)
            units += realise(meaning, target_lang).units
        live, source = meanings[-1], sources[-1]
        target = realise(live, target_lang, late=rng.random() < self._noise.late)
        kept = list(target.units)
        cut = len(source.units)
        if rng.random() < self._noise.partial:
            cut = rng.randint(0 if words else 1, len(source.units))
            kept = certain_units(source, target, cut)
        partial = cut < len(source.units)
        words += self._heard(rng, source, cut, spoken, complete=not partial)
        ignored = self._spoil(rng, kept, target_lang)
        return self._encode(target_lang, words, units + kept, None if ignored is None else len(units) + ignored)

    def _heard(self, rng: random.Random, source: Realisation, n_units: int, spoken: bool, complete: bool) -> list[str]:
        """The first ``n_units`` of a sentence as they reach the translator."""
        if not spoken:
            return [unit.text for unit in source.units[:n_units]]
        noise = self._noise
        heard: list[str] = []
        for word, index in spoken_units(source):
            if index >= n_units:
                break
            draw = rng.random()
            if draw < noise.dropped:
                continue
            heard.append(self._mishear(rng, word) if draw < noise.dropped + noise.confused else word)
            if rng.random() < noise.added:
                heard.append(rng.choice(("the", "a", "and", "in", rng.choice(self._words))))
        if heard and complete:
            heard[-1] += "."
        elif heard and rng.random() < noise.fresh:
            heard[-1] = self._mishear(rng, heard[-1])
        return heard

    def _mishear(self, rng: random.Random, word: str) -> str:
        near = self._confusions.get(word, ())
        return rng.choice(near) if near and rng.random() < 0.8 else rng.choice(self._words)

    def _spoil(self, rng: random.Random, units: list[Unit], lang: str) -> int | None:
        """Replace or insert one wrong unit, in place; its index, or None."""
        if not units or rng.random() >= self._noise.wrong_prefix:
            return None
        other = realise(sample_document(rng, 1)[0], lang)
        wrong = rng.choice(other.units[:-1] or other.units)
        index = rng.randrange(len(units))
        if rng.random() < 0.6:
            units[index] = wrong
        else:
            units.insert(index, wrong)
        return index

    def _encode(self, lang: str, words: Sequence[str], units: Sequence[Unit], ignored: int | None) -> Example:
        prompt = self._layouts[lang].build(words).ids
        text, spans = join(lang, units)
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        target = [*encoded["input_ids"], *self._end]
        labels = list(target)
        if ignored is not None:
            start, end = spans[ignored]
            for index, (begin, stop) in enumerate(encoded["offset_mapping"]):
                if begin < end and stop > start:
                    labels[index] = IGNORED
        return Example((*prompt, *target), (*(IGNORED for _ in prompt), *labels))


def certain_units(source: Realisation, target: Realisation, n_units: int) -> list[Unit]:
    """Target units all of whose concepts are expressed by the first ``n_units`` source units, in order.

    What a translator would say if the sentence ended there, without the words nobody has spoken yet.
    """
    everything = frozenset().union(*(unit.concepts for unit in source.units))
    visible = frozenset().union(*(unit.concepts for unit in source.units[:n_units]))
    kept = [unit for unit in target.units if unit.concepts & everything <= visible and unit.concepts & visible]
    if kept and n_units < len(source.units):
        kept[-1] = Unit(kept[-1].text.rstrip(".。,，"), kept[-1].concepts)
    return kept


def sample_texts(rng: random.Random, n_documents: int) -> list[str]:
    """Sentences in all languages, clean and as heard, for the tokenizer."""
    texts: list[str] = []
    for _ in range(n_documents):
        for meaning in sample_document(rng, 2):
            source: Meaning = meaning
            texts += [realise(source, lang).text for lang in ("en", "de", "it", "zh")]
            texts.append(" ".join(spoken_form(realise(source, "en"))) + ".")
    return texts
