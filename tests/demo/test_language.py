"""The controlled language: hand-checked translations, alignments by construction, variety."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from demo.language import alignment, lexicon, realise, sample_document, sample_sentences, spoken_form
from demo.language.meaning import Adverbial, Clause, Meaning, NounPhrase

NOUNS = {noun.en: noun for noun in lexicon.NOUNS}
VERBS = {verb.en: verb for verb in lexicon.VERBS}
ADJECTIVES = {adjective.en: adjective for adjective in lexicon.ADJECTIVES}
QUANTITIES = {quantity.key: quantity for quantity in lexicon.QUANTITIES}
MODALS = {modal.key: modal for modal in lexicon.MODALS}
PHRASES = {
    " ".join(word for word, _ in phrase.words["en"]): phrase
    for phrase in (*lexicon.TIMES, *lexicon.PLACES, lexicon.year_phrase(2019))
}
_ids = iter(range(8, 10**6, 8))


def np(text: str, relative: Clause | None = None, plural: bool = False) -> NounPhrase:
    """'the book', 'a new book', 'two new books' (as 'two new book'), 'Anna', 'it=book'."""
    if "=" in text:
        return NounPhrase(next(_ids), NOUNS[text.split("=")[1]], "pronoun", plural=plural)
    words = text.split()
    if len(words) == 1:
        return NounPhrase(next(_ids), NOUNS[text], "name")
    noun = NOUNS[words[-1]]
    adjective = ADJECTIVES[words[1]] if len(words) == 3 else None
    if words[0] in QUANTITIES:
        return NounPhrase(next(_ids), noun, "count", QUANTITIES[words[0]], adjective, plural=True)
    form = "definite" if words[0] == "the" else "indefinite"
    return NounPhrase(next(_ids), noun, form, None, adjective, relative)


def clause(
    subject: str | NounPhrase, verb: str, thing: str | NounPhrase = "", tense: str = "present", **more: Any
) -> Clause:
    """A clause; a tense that is a modal's name means that modal; `be` takes a predicate."""
    where = [Adverbial(next(_ids), PHRASES[more[key]]) if key in more else None for key in ("place", "time")]
    return Clause(
        next(_ids),
        np(subject) if isinstance(subject, str) else subject,
        None if verb == "be" else VERBS[verb],
        "modal" if tense in MODALS else tense,
        MODALS.get(tense),
        (np(thing) if isinstance(thing, str) else thing) if thing else None,
        ADJECTIVES[more["predicate"]] if verb == "be" else None,
        where[0],
        where[1],
        more.get("first", False),
    )


def join(main: Clause, link: str, other: Clause, first: bool = False) -> Meaning:
    """Two clauses in one sentence."""
    return Meaning(next(_ids), main, lexicon.LINKS[link], other, first)


def one(*args: Any, **more: Any) -> Meaning:
    """One clause."""
    return Meaning(next(_ids), clause(*args, **more))


def relative(subject: str, *args: Any) -> NounPhrase:
    """A noun phrase with a relative clause."""
    return np(subject, clause(subject, *args))


MEANINGS = [
    one("the teacher", "repair", "the machine"),
    one("the engineer", "switch", "a broken machine"),
    one("the engineer", "switch", "it=television", "perfect"),
    one("Maria", "buy", "a new book", "past", time="yesterday", first=True),
    one("Maria", "buy", "a new book", "past", time="last week"),
    one("three student", "clean", "the mirror", "must", time="tomorrow"),
    one("the woman", "invite", "the student", "will", time="on Friday"),
    one("a artist", "paint", "the portrait", place="in the garden"),
    one("a nurse", "work", place="in the hospital"),
    one("the book", "be", predicate="interesting"),
    one(np("it=machine"), "be", predicate="new"),
    one("the house", "be", predicate="wooden"),
    one("Peter", "choose", "two purple shirt", "wants_to"),
    one(np("x=girl"), "observe", np("x=elephant", plural=True), "can"),
    one("the girl", "throw", "it=letter", "perfect"),
    join(
        clause("the doctor", "sell", "the car", "perfect"),
        "because",
        clause(np("x=doctor"), "buy", "a bicycle", "will"),
    ),
    join(clause("the sister", "sleep"), "because", clause("the mother", "work"), first=True),
    join(clause("Laura", "open", "the window"), "when", clause("Thomas", "close", "it=window")),
    join(
        clause("Laura", "visit", "the museum", "past"),
        "when",
        clause("the tourist", "photograph", "a castle", "past"),
        first=True,
    ),
    join(clause("the pilot", "be", predicate="tired"), "although", clause(np("x=pilot"), "sleep", "", "perfect")),
    join(clause("two musician", "sing", "the song", "will"), "if", clause("Victor", "laugh"), first=True),
    join(clause("the lawyer", "work"), "while", clause("the manager", "sign", "the contract")),
    join(clause("Sophia", "say"), "that", clause("the farmer", "sell", "four horse", "perfect")),
    join(clause("the minister", "announce"), "that", clause("Marco", "prepare", "the project", "can")),
    join(clause("the soldier", "wash", "the truck"), "and", clause("the girl", "smile")),
    join(clause("many tourist", "dance"), "but", clause("Julia", "complain")),
    one(relative("the scientist", "repair", "a robot", "perfect"), "greet", "the philosopher"),
    one("the princess", "build", "a enormous castle", "past", time="in 2019"),
]
"""What the lines of language.tsv say in English, German, Italian and Chinese."""
LINES = Path(__file__).with_name("language.tsv").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(("meaning", "line"), list(zip(MEANINGS, LINES, strict=True)), ids=[x[:40] for x in LINES])
def test_translations(meaning: Meaning, line: str) -> None:
    assert [realise(meaning, lang).text for lang in ("en", "de", "it", "zh")] == line.split("\t")


def test_late_surfaces_follow_the_english_order() -> None:
    meaning = one("Maria", "buy", "a new book", "past", time="last week")
    assert realise(meaning, "de", late=True).text == "Maria hat ein neues Buch gekauft letzte Woche."
    assert realise(meaning, "zh", late=True).text == "Maria 买了一本新的书，上周。"
    meaning = join(clause("Victor", "sleep"), "if", clause("Laura", "work"))
    assert realise(meaning, "zh", late=True).text == "Victor 睡觉，如果 Laura 工作。"


def test_alignment_pairs() -> None:
    meaning = one("Maria", "buy", "a new book", "past", time="yesterday")
    source, target = realise(meaning, "en"), realise(meaning, "zh")
    assert [unit.text for unit in target.units] == ["Maria", "昨天", "买", "了", "一本", "新的", "书。"]
    assert alignment(source, target) == {(0, 0), (5, 1), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6)}


def test_every_target_unit_is_aligned_and_spans_fit() -> None:
    for meaning in sample_sentences(random.Random(3), 80):
        source = realise(meaning, "en")
        for lang in ("de", "it", "zh"):
            for late in (False, True):
                target = realise(meaning, lang, late)
                assert {j for _, j in alignment(source, target)} == set(range(len(target.units))), target.text
                assert [target.text[a:b] for a, b in target.spans] == [unit.text for unit in target.units]


def test_deterministic_and_varied() -> None:
    def draw(seed: int) -> list[str]:
        rng = random.Random(seed)
        return [realise(meaning, "en").text for _ in range(750) for meaning in sample_document(rng, 4)]

    texts = draw(5)
    assert texts == draw(5)
    assert len(set(texts)) > 0.96 * len(texts)
    lengths = [len(text.split()) for text in texts]
    assert max(lengths) <= 18
    assert 8.0 < sum(lengths) / len(lengths) < 10.0


def test_spoken_form_reads_years_and_drops_punctuation() -> None:
    meaning = join(
        clause("Peter", "build", "a house", "past", time="in 2019", first=True), "but", clause("Laura", "sleep")
    )
    words = "in twenty nineteen peter built a house but laura sleeps".split()  # noqa: SIM905
    assert spoken_form(realise(meaning, "en")) == words
    with pytest.raises(ValueError, match="'fr'"):
        realise(meaning, "fr")
