"""The lexicon: every form of every word, read from the tables beside this file (their first lines name the columns)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from demo.language.realisation import LANGUAGES


@dataclass(frozen=True)
class Noun:
    """A noun; `group` is its semantic class, `sex` m or f for persons and empty otherwise; names have measure ''.

    `de_weak` is the accusative singular.
    """

    group: str
    en: str
    en_plural: str
    de: str
    de_plural: str
    de_gender: str
    de_weak: str
    it: str
    it_plural: str
    it_gender: str
    zh: str
    measure: str
    sex: str

    @property
    def is_name(self) -> bool:
        """Whether this is a proper name, written alike in all languages and without article."""
        return self.group == "name"


@dataclass(frozen=True)
class Adjective:
    """An adjective: German stem before endings ('-' invariable), Italian masculine plural, Chinese predicate style."""

    en: str
    de: str
    de_stem: str
    it: str
    it_plural: str
    zh: str
    zh_style: str
    groups: str


@dataclass(frozen=True)
class Verb:
    """A verb with its forms; `groups` are the noun classes (or =lemmas) it takes as object, none when intransitive.

    `complement`: for a verb that takes a that-clause, which tenses that has.
    """

    en: str
    en_third: str
    en_past: str
    en_participle: str
    en_particle: str
    de: str
    de_prefix: str
    de_third: str
    de_participle: str
    it: str
    it_third: str
    it_plural: str
    it_participle: str
    it_future: str
    zh: str
    groups: str
    complement: str


@dataclass(frozen=True)
class Phrase:
    """A fixed phrase of time or place: for each language (word, digits), where equal digits mean corresponding words.

    `kind` of a time: tenses it goes with (p past, r present, f future; 1: stands only first in the sentence). Of a
    place: i inside or close by, o outside, t a whole town or country.
    """

    kind: str
    words: dict[str, tuple[tuple[str, str], ...]]

    @classmethod
    def of(cls, kind: str, **texts: str) -> Phrase:
        """From `word:digits …` by language; without a colon, a word's digit is its position."""
        pairs = {lang: [word.partition(":") for word in text.split()] for lang, text in texts.items()}
        return cls(
            kind, {lang: tuple((w, d or f"{n}") for n, (w, _, d) in enumerate(p, 1)) for lang, p in pairs.items()}
        )


@dataclass(frozen=True)
class Word:
    """A closed-class word; its forms in a language depend on what it is.

    Quantity: English words, Italian masculine and feminine, Chinese before the measure word ('-': without one). Modal:
    third person, plural. Link: the conjunction, in Chinese the words that open and close the clause.
    """

    key: str
    en: tuple[str, ...]
    de: tuple[str, ...]
    it: tuple[str, ...]
    zh: tuple[str, ...]


def read_table(table: str, what: str = "") -> Iterator[dict[str, str]]:
    """Rows of a table by column; those of one kind where it has a column `what`."""
    with Path(__file__).with_name(f"{table}.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if row.pop("what", "") == what:
                yield row


def _words(what: str) -> tuple[Word, ...]:
    rows = read_table("words", what)
    return tuple(Word(row["key"], *(tuple(row[lang].split("/")) for lang in LANGUAGES)) for row in rows)


NOUNS = tuple(Noun(**row) for row in read_table("nouns"))
GROUPS = {
    group: tuple(noun for noun in NOUNS if noun.group == group) for group in dict.fromkeys(n.group for n in NOUNS)
}
VERBS = tuple(Verb(**row) for row in read_table("verbs"))
TRANSITIVE = tuple(verb for verb in VERBS if verb.groups)
SAYING = tuple(verb for verb in VERBS if verb.complement)
INTRANSITIVE = tuple(verb for verb in VERBS if not verb.groups and not verb.complement)
ADJECTIVES = tuple(Adjective(**row) for row in read_table("adjectives"))
TIMES, PLACES = (tuple(Phrase.of(**row) for row in read_table("phrases", what)) for what in ("time", "place"))
QUANTITIES, MODALS = _words("quantity"), _words("modal")
LINKS = {link.key: link for link in _words("link")}


def _is_in(noun: Noun, groups: str) -> bool:
    return noun.group in groups.split() or f"={noun.en}" in groups.split()


OBJECTS_OF = {
    verb.en: tuple(
        noun for noun in NOUNS if _is_in(noun, verb.groups) or (noun.is_name and "person" in verb.groups.split())
    )
    for verb in TRANSITIVE
}
ADJECTIVES_OF = {noun.en: tuple(a for a in ADJECTIVES if _is_in(noun, a.groups)) for noun in NOUNS}
_YEARS = "eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty"
YEARS = {year: f"twenty {word}" for year, word in enumerate(_YEARS.split(), 2011)}


def year_phrase(year: int) -> Phrase:
    """The time adverbial of a calendar year."""
    return Phrase.of("p", en=f"in {year}", de=f"im:1 Jahr:1 {year}:2", it=f"nel {year}", zh=f"在 {year} 年:2")
