"""Meanings: small trees whose nodes own ranges of concept numbers, so that words of two languages can be matched."""

from __future__ import annotations

from dataclasses import dataclass

from demo.language.lexicon import Adjective, Noun, Phrase, Verb, Word

NODE_STRIDE = 8  # concept numbers a node owns: id + 1 … id + 7


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

    @property
    def determiner_concept(self) -> int:
        """Concept of the article or quantity."""
        return self.id + 1

    @property
    def adjective_concept(self) -> int:
        """Concept of the adjective."""
        return self.id + 2

    @property
    def head_concept(self) -> int:
        """Concept of the noun, name or pronoun."""
        return self.id + 3

    @property
    def relative_concept(self) -> int:
        """Concept of the relative pronoun."""
        return self.id + 4


@dataclass(frozen=True)
class Adverbial:
    """A time or place phrase in use; the word with digit d expresses concept id + d."""

    id: int
    phrase: Phrase

    def concepts(self, digits: str) -> frozenset[int]:
        """Concepts of a word tagged with these digits."""
        return frozenset(self.id + int(digit) for digit in digits)


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

    @property
    def verb_concept(self) -> int:
        """Concept of the verb or copula."""
        return self.id + 1

    @property
    def auxiliary_concept(self) -> int:
        """Concept of tense or modality."""
        return self.id + 2

    @property
    def predicate_concept(self) -> int:
        """Concept of the predicate adjective."""
        return self.id + 3


@dataclass(frozen=True)
class Meaning:
    """A sentence: a main clause and perhaps another, joined by `link` (a subordinator, and/but, or that)."""

    id: int
    main: Clause
    link: Word | None = None
    other: Clause | None = None
    other_first: bool = False

    @property
    def link_concept(self) -> int:
        """Concept of the conjunction."""
        return self.id + 1

    def clauses(self) -> tuple[Clause, ...]:
        """The clauses, main first."""
        return (self.main,) if self.other is None else (self.main, self.other)
