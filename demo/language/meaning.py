"""Meanings: small trees whose nodes own ranges of concept numbers, so that words of two languages can be matched."""

from __future__ import annotations

from dataclasses import dataclass

from demo.language.lexicon import Adjective, Noun, Phrase, Verb, Word
from demo.language.realisation import Unit

NODE_STRIDE = 8  # concept numbers a node owns: id + 1 … id + 7


class Part:
    """The words of a node by what they express: the concept of a part is the node's id plus its number.

    Of a noun phrase the article or quantity, adjective, noun or pronoun, relative pronoun; of a clause the verb or
    copula, tense or modality, predicate adjective; of a sentence the conjunction.
    """

    DETERMINER, ADJECTIVE, HEAD, RELATIVE = 1, 2, 3, 4
    VERB, AUXILIARY, PREDICATE = 1, 2, 3
    LINK = 1


@dataclass(frozen=True)
class NounPhrase:
    """A noun phrase; `form` is definite, indefinite, count, name or pronoun."""

    id: int
    noun: Noun
    form: str
    quantity: Word | None = None
    adjective: Adjective | None = None
    relative: Clause | None = None
    plural: bool = False


@dataclass(frozen=True)
class Adverbial:
    """A time or place phrase in use; the word with digit d expresses concept id + d."""

    id: int
    phrase: Phrase


@dataclass(frozen=True)
class Clause:
    """A clause; without a verb it is a copula with `predicate`. `tense`: present, past, perfect or modal."""

    id: int
    subject: NounPhrase
    verb: Verb | None
    tense: str
    modal: Word | None = None
    object: NounPhrase | None = None
    predicate: Adjective | None = None
    place: Adverbial | None = None
    time: Adverbial | None = None
    time_first: bool = False


@dataclass(frozen=True)
class Meaning:
    """A sentence: a main clause and perhaps another, joined by `link` (a subordinator, and/but, or that)."""

    id: int
    main: Clause
    link: Word | None = None
    other: Clause | None = None
    other_first: bool = False

    def clauses(self) -> tuple[Clause, ...]:
        """The clauses, main first."""
        return (self.main,) if self.other is None else (self.main, self.other)


def adverbial_units(adverbial: Adverbial | None, lang: str) -> list[Unit]:
    """The words of an adverbial, if there is one."""
    if adverbial is None:
        return []
    words = adverbial.phrase.words[lang]
    return [Unit(word, frozenset(adverbial.id + int(digit) for digit in digits)) for word, digits in words]
