"""The lexicon read from its compact tables: entries with every form the realisers need."""

from __future__ import annotations

from dataclasses import dataclass

from demo.language import nouns, verbs
from demo.language.phrases import LINKS, MODALS, PLACES, QUANTITIES, TIMES


@dataclass(frozen=True)
class Noun:
    """A noun; `group` is its semantic class, `sex` m or f for persons and empty otherwise; names have measure ''."""

    en: str
    en_plural: str
    de: str
    de_gender: str
    de_plural: str
    de_weak: str
    it: str
    it_plural: str
    it_gender: str
    zh: str
    measure: str
    group: str
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
    groups: frozenset[str]


@dataclass(frozen=True)
class Verb:
    """A verb with its forms; `groups` are the noun classes (or =lemmas) it takes as object, none when intransitive."""

    en: str
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
    groups: frozenset[str]


@dataclass(frozen=True)
class Phrase:
    """A fixed phrase: for each language (word, digits), where equal digits mean corresponding words."""

    kind: str
    en: tuple[tuple[str, str], ...]
    de: tuple[tuple[str, str], ...]
    it: tuple[tuple[str, str], ...]
    zh: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Word:
    """A closed-class word: one list of forms for each language; what they are depends on the table."""

    key: str
    en: tuple[str, ...]
    de: tuple[str, ...]
    it: tuple[str, ...]
    zh: tuple[str, ...]


def plural_or_third(word: str) -> str:
    """English -s form by rule: plural of a noun or third person of a verb."""
    if word.endswith(("s", "sh", "ch", "x", "z", "o")):
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeou":
        return word[:-1] + "ies"
    return word + "s"


def _past(word: str) -> str:
    if word.endswith("e"):
        return word + "d"
    if word.endswith("y") and word[-2] not in "aeou":
        return word[:-1] + "ied"
    return word + "ed"


def _rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]


def _noun(row: list[str], group: str) -> Noun:
    words = row[0].split()
    spaced = group == "food" and len(words) == 2 and words[0] in ("chocolate", "vegetable")
    en = row[0] if spaced else words[0]
    plural = words[1] if len(words) > 1 and not spaced else plural_or_third(en)
    german = row[1].split()
    italian = row[2].split()
    zh, measure = row[3].split()
    weak = german[0]
    if len(german) > 3:
        weak += "en" if german[2].endswith("en") and not german[0].endswith("e") else "n"
    sex = row[4] if len(row) > 4 else german[1] if group == "person" else ""
    if len(italian) < 3:
        raise ValueError(f"noun {row[0]!r}: expected 'singular plural gender' in the Italian column, got {row[2]!r}")
    return Noun(
        en, plural, german[0], german[1], german[2], weak, italian[0], italian[1], italian[2], zh, measure, group, sex
    )


def _name(row: list[str]) -> Noun:
    name, sex = row[0].split()
    return Noun(name, name, name, sex, name, name, name, name, sex, name, "", "name", sex)


def _italian_verb(cell: str) -> tuple[str, str, str, str, str]:
    given = [*cell.replace("_", " ").split("/"), "", "", "", ""]
    infinitive = given[0]
    stem, kind = infinitive[:-3], infinitive[-3:]
    third, plural, participle = {
        "are": (stem + "a", stem + "ano", stem + "ato"),
        "ere": (stem + "e", stem + "ono", stem + "uto"),
    }.get(kind, (stem + "e", stem + "ono", stem + "ito"))
    future = stem + ("ir" if kind == "ire" else "er")
    if kind == "are" and stem[-1] in "cg":
        future = stem + "her"
    elif kind == "are" and stem.endswith(("ci", "gi")):
        future = stem[:-1] + "er"
    return infinitive, given[1] or third, given[2] or plural, given[3] or participle, given[4] or future


def _verb(row: list[str]) -> Verb:
    english = row[0].split()
    base, _, particle = english[0].partition("~")
    past = english[1] if len(english) > 1 else _past(base)
    participle = english[2] if len(english) > 2 else past
    infinitive, third, german_participle = row[1].split()
    prefix, _, stem = infinitive.rpartition("+")
    italian = _italian_verb(row[2])
    groups = frozenset(row[4].split())
    return Verb(base, past, participle, particle, stem, prefix, third, german_participle, *italian, row[3], groups)


def _adjective(row: list[str]) -> Adjective:
    german = row[1].split()
    italian = row[2].replace("_", " ").split(" ") if "di_" not in row[2] else ["di legno", "-"]
    base = italian[0]
    rule = base[:-1] + ("hi" if base.endswith(("co", "go")) else "i") if not base.endswith("io") else base[:-1]
    plural = italian[1] if len(italian) > 1 else rule
    chinese = row[3].split()
    style = chinese[1] if len(chinese) > 1 else ""
    return Adjective(row[0], german[0], german[-1], base, plural, chinese[0], style, frozenset(row[4].split()))


def _tagged(cell: str) -> tuple[tuple[str, str], ...]:
    pairs = [word.partition(":") for word in cell.split()]
    return tuple((word, digits or str(place)) for place, (word, _, digits) in enumerate(pairs, 1))


def _phrase(row: list[str]) -> Phrase:
    return Phrase(row[0], _tagged(row[1]), _tagged(row[2]), _tagged(row[3]), _tagged(row[4]))


def _word(row: list[str]) -> Word:
    cells = [tuple(part.replace("_", " ") for part in cell.split()) for cell in row]
    return Word(row[0].split()[0], cells[0], cells[1], cells[2], tuple(row[3].split()))


def _quantity(row: list[str]) -> Word:
    cells = [tuple(cell.split()) for cell in row]
    return Word(row[0], cells[0], cells[1], cells[2], cells[3])


def _link(row: list[str]) -> Word:
    cells = [cell.replace("_", " ") for cell in row]
    return Word(cells[0], (cells[1],), (cells[2],), (cells[3],), (cells[4], cells[5]))


def _by_group() -> dict[str, tuple[Noun, ...]]:
    tables = {"person": nouns.PERSONS, **nouns.OBJECTS}
    groups = {name: tuple(_noun(row, name) for row in _rows(table)) for name, table in tables.items()}
    groups["name"] = tuple(_name(row) for row in _rows(nouns.NAMES))
    return groups


GROUPS = _by_group()
NOUNS = tuple(noun for group in GROUPS.values() for noun in group)
ALL_VERBS = tuple(_verb(row) for row in _rows(verbs.VERBS))
TRANSITIVE = tuple(verb for verb in ALL_VERBS if verb.groups)
INTRANSITIVE = tuple(verb for verb in ALL_VERBS if not verb.groups)
SAYING = tuple(_verb(row) for row in _rows(verbs.SAYING))
ADJECTIVE_LIST = tuple(_adjective(row) for row in _rows(verbs.ADJECTIVES))
TIME_LIST = tuple(_phrase(row) for row in _rows(TIMES))
PLACE_LIST = tuple(_phrase(row) for row in _rows(PLACES))
QUANTITY_LIST = tuple(_quantity(row) for row in _rows(QUANTITIES))
MODAL_LIST = tuple(_word(row) for row in _rows(MODALS))
LINK_BY_KEY = {row[0]: _link(row) for row in _rows(LINKS)}


def _is_in(noun: Noun, groups: frozenset[str]) -> bool:
    return noun.group in groups or f"={noun.en}" in groups


OBJECTS_OF = {
    verb.en: tuple(noun for noun in NOUNS if _is_in(noun, verb.groups) or (noun.is_name and "person" in verb.groups))
    for verb in TRANSITIVE
}
ADJECTIVES_OF = {
    noun.en: tuple(adjective for adjective in ADJECTIVE_LIST if _is_in(noun, adjective.groups)) for noun in NOUNS
}


YEARS = {
    2011 + place: f"twenty {word}"
    for place, word in enumerate(
        "eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty".split()  # noqa: SIM905
    )
}


def year_phrase(year: int) -> Phrase:
    """The time adverbial of a calendar year."""
    digits = str(year)
    return Phrase(
        "p",
        (("in", "1"), (digits, "2")),
        (("im", "1"), ("Jahr", "1"), (digits, "2")),
        (("nel", "1"), (digits, "2")),
        (("在", "1"), (digits, "2"), ("年", "2")),
    )


def content_words() -> frozenset[str]:
    """Distinct English content words: nouns, names, verbs, adjectives and the words of phrases and quantities."""
    found = {word for noun in NOUNS for word in noun.en.split()}
    found |= {verb.en for verb in (*ALL_VERBS, *SAYING)} | {adjective.en for adjective in ADJECTIVE_LIST}
    found |= {word for phrase in (*TIME_LIST, *PLACE_LIST) for word, _ in phrase.en}
    found |= {word for quantity in QUANTITY_LIST for word in quantity.en}
    return frozenset(found - {"the", "in", "at", "on", "every", "this", "before", "after", "during", "one"})
