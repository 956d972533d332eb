"""Sampling of connected sentences, and the door to their four surfaces."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from demo.language import lexicon
from demo.language.chinese import realise_chinese
from demo.language.english import realise_english, spoken_form
from demo.language.german import realise_german
from demo.language.italian import realise_italian
from demo.language.lexicon import ADJECTIVES_OF, GROUPS, OBJECTS_OF, Adjective, Noun, Phrase, Verb
from demo.language.meaning import NODE_STRIDE, Adverbial, Clause, Meaning, NounPhrase
from demo.language.realisation import Realisation

MAX_WORDS = 18
TENSES = {"p": "past", "r": "present", "f": "modal"}
MODAL_WEIGHTS = (3, 3, 2, 4)  # can, must, wants to, will
SUBORDINATORS = ("because", "although", "when", "if", "while")
KIN = frozenset({"mother", "sister", "daughter", "grandfather", "grandmother", "president"})  # one of each
UNINTENDED = frozenset({"lose", "forget", "break"})  # nobody must or wants to
TOWN_ONLY = frozenset({"building", "vehicle", "animal"})  # objects that do not fit into a kitchen


def realise(meaning: Meaning, lang: str, late: bool = False) -> Realisation:
    """The sentence in `lang` (en, de, it, zh); `late` asks for the surface that follows the English order."""
    if lang == "en":
        return realise_english(meaning)
    if lang == "de":
        return realise_german(meaning, late)
    if lang == "it":
        return realise_italian(meaning)
    if lang == "zh":
        return realise_chinese(meaning, late)
    raise ValueError(f"unknown language {lang!r}: expected en, de, it or zh")


def sample_document(rng: random.Random, sentences: int) -> list[Meaning]:
    """Meanings of consecutive sentences about one small cast."""
    scene = Scene(rng)
    return [scene.sentence() for _ in range(sentences)]


def sample_sentences(rng: random.Random, documents: int) -> Iterator[Meaning]:
    """Sentences of many documents of two to five sentences."""
    for _ in range(documents):
        yield from sample_document(rng, rng.randint(2, 5))


@dataclass
class Scene:
    """The state of one document: who is in it and what the last sentence left to refer to."""

    rng: random.Random
    next_id: int = 0
    cast: list[Noun] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    person: NounPhrase | None = None
    thing: NounPhrase | None = None
    present_people: set[str] = field(default_factory=set)  # already in the sentence being drawn

    def __post_init__(self) -> None:
        name = self.rng.choice(GROUPS["name"])
        self.cast = [name]
        while len(self.cast) < 3 or len({noun.sex for noun in self.cast}) < 2:
            candidate = self.rng.choice(GROUPS["person"])
            if candidate not in self.cast and len(self.cast) < 4:
                self.cast.append(candidate)
            elif len(self.cast) == 4:
                self.cast.pop()

    def sentence(self) -> Meaning:
        """The next sentence, not longer than MAX_WORDS."""
        before = (self.person, self.thing, set(self.known))
        while True:
            meaning = self._draw()
            if len(spoken_form(realise_english(meaning))) <= MAX_WORDS:
                self._remember(meaning)
                return meaning
            self.person, self.thing, self.known = before[0], before[1], set(before[2])

    def _id(self) -> int:
        self.next_id += NODE_STRIDE
        return self.next_id

    def _draw(self) -> Meaning:
        self.present_people = set()
        kind = self.rng.choices(
            ("simple", "short", "copula", "subordinate", "complement", "coordination"), (43, 7, 8, 20, 11, 11)
        )[0]
        if kind == "simple":
            return Meaning(self._id(), self._clause(self._subject(), time_chance=0.62, extra=True))
        if kind == "short":
            return Meaning(self._id(), self._intransitive(self._subject()))
        if kind == "copula":
            return Meaning(self._id(), self._copula())
        if kind == "complement":
            return self._complement()
        return self._compound(kind)

    def _compound(self, kind: str) -> Meaning:
        subject = self._subject(plain=True)
        main = self._clause(subject, time_chance=0.25)
        second = self._second_subject(main)
        link = self.rng.choice(("and", "but") if kind == "coordination" else SUBORDINATORS)
        tense = main.tense
        if link == "while" and tense in ("past", "perfect"):
            link = "when"
        if link in ("while", "when", "if"):
            tense = {"past": "past", "perfect": "past"}.get(tense, "present")
            if link == "if" and tense == "past":
                tense = "present"
                main = self._clause(subject, time_chance=0.0, tense="modal")
            elif tense == "past":
                main = replace(main, tense="past")
        elif tense == "past":
            tense = self.rng.choice(("past", "perfect"))
        elif tense == "perfect" and self.rng.random() < 0.5:
            tense = "present"
        elif kind == "subordinate" and self.rng.random() < 0.4:
            tense = self.rng.choice(("perfect", "modal", "present"))
        if self.rng.random() < 0.3:
            other = self._intransitive(second, tense)
        else:
            other = self._clause(second, time_chance=0.0, tense=tense)
        first = kind == "subordinate" and self.rng.random() < 0.4
        if first and main.time_first:
            main = self._clause(subject, time_chance=0.0, tense=main.tense)
        return Meaning(self._id(), main, lexicon.LINKS[link], other, first)

    def _complement(self) -> Meaning:
        verb = self.rng.choice(lexicon.SAYING)
        limits = verb.complement
        tense = "past" if limits == "any" and self.rng.random() < 0.4 else "present"
        subject = self._subject(plain=True)
        main = Clause(self._id(), subject, verb, tense)
        second = self._second_subject(main)
        if limits == "will":
            other = self._clause(second, time_chance=0.3, tense="modal", modal="will", front=False)
        elif tense == "past":
            other = self._clause(second, time_chance=0.0, tense="past")
        else:
            other = self._clause(second, time_chance=0.3, front=False)
        return Meaning(self._id(), main, lexicon.LINKS["that"], other)

    def _second_subject(self, main: Clause) -> NounPhrase:
        """Subject of a second clause: a pronoun for the first subject where that is clear, else someone else."""
        first = main.subject
        self.present_people |= {np.noun.en for np in (first, main.object) if np is not None}
        rival = main.object is not None and main.object.noun.sex != ""
        if not rival and self.rng.random() < 0.4:
            return NounPhrase(self._id(), first.noun, "pronoun", plural=first.plural)
        others = [noun for noun in self.cast if noun.en not in self.present_people]
        return self._person(self.rng.choice(others), plain=True)

    def _copula(self) -> Clause:
        thing = self.thing
        subject: NounPhrase
        if thing is not None and self.rng.random() < 0.6 and ADJECTIVES_OF[thing.noun.en]:
            form = "pronoun" if self.rng.random() < 0.5 and not thing.plural else "definite"
            subject = NounPhrase(self._id(), thing.noun, form)
            subject = subject if not thing.plural else self._person(self.cast[1], plain=True)
        elif self.rng.random() < 0.5:
            subject = self._person(self.rng.choice(self.cast), plain=True)
        else:
            noun = self.rng.choice(self.rng.choice([group for name, group in GROUPS.items() if name != "name"]))
            subject = NounPhrase(self._id(), noun, "definite")
        choices = ADJECTIVES_OF[subject.noun.en] or ADJECTIVES_OF["teacher"]
        used = thing.adjective if thing is not None else None
        predicate = self.rng.choice([choice for choice in choices if choice != used] or choices)
        return Clause(self._id(), subject, None, "present", predicate=predicate)

    def _subject(self, plain: bool = False) -> NounPhrase:
        """A subject: pronoun for the last person, a group, or one of the cast."""
        draw = self.rng.random()
        if self.person is not None and draw < 0.3:
            return NounPhrase(self._id(), self.person.noun, "pronoun", plural=self.person.plural)
        if draw < 0.42:
            return self._count(self.rng.choice([noun for noun in GROUPS["person"] if noun.en not in KIN]))
        return self._person(self.rng.choice(self.cast), plain)

    def _person(self, noun: Noun, plain: bool = False) -> NounPhrase:
        if noun.is_name:
            return NounPhrase(self._id(), noun, "name")
        definite = noun.en in self.known or noun.en in KIN or self.rng.random() < 0.6
        form = "definite" if definite else "indefinite"
        adjective = None
        if not plain and noun.en not in self.known and self.rng.random() < 0.5:
            adjective = self._adjective(noun)
        relative = None
        np = NounPhrase(self._id(), noun, form, adjective=adjective)
        if not plain and adjective is None and form == "definite" and self.rng.random() < 0.42:
            tense = self.rng.choice(("present", "perfect"))
            relative = self._clause(np, time_chance=0.0, tense=tense, simple_object=True)
        return NounPhrase(np.id, noun, form, adjective=adjective, relative=relative)

    def _count(self, noun: Noun) -> NounPhrase:
        adjective = self._adjective(noun) if self.rng.random() < 0.3 else None
        quantity = self.rng.choice(lexicon.QUANTITIES)
        return NounPhrase(self._id(), noun, "count", quantity, adjective, plural=True)

    def _adjective(self, noun: Noun) -> Adjective | None:
        choices = ADJECTIVES_OF[noun.en]
        return self.rng.choice(choices) if choices else None

    def _object(self, verb: Verb, subject: NounPhrase, simple: bool) -> NounPhrase:
        """An object the verb can take; `it` for the last thing where that fits."""
        taken = self.present_people | {subject.noun.en}
        choices = [noun for noun in OBJECTS_OF[verb.en] if not noun.sex or noun.en not in taken]
        thing = self.thing
        clash = thing is not None and thing.plural and subject.plural and subject.form == "pronoun"  # they … them
        if thing is not None and thing.noun in choices and not clash and self.rng.random() < 0.75:
            if self.rng.random() < 0.65 or thing.plural:
                return NounPhrase(self._id(), thing.noun, "pronoun", plural=thing.plural)
            return NounPhrase(self._id(), thing.noun, "definite")
        people = [noun for noun in self.cast if noun in choices]
        noun = self.rng.choice(people if people and self.rng.random() < 0.6 else choices)
        if noun.is_name:
            return NounPhrase(self._id(), noun, "name")
        if self.rng.random() < 0.15 and noun.en not in KIN:
            return self._count(noun)
        known = noun.en in self.known or noun.en in KIN
        form = "definite" if known or self.rng.random() < 0.45 else "indefinite"
        adjective = self._adjective(noun) if not simple and not known and self.rng.random() < 0.5 else None
        return NounPhrase(self._id(), noun, form, adjective=adjective)

    def _verb(self) -> Verb:
        """A transitive verb, more often one that fits what was just mentioned."""
        if self.thing is not None and self.rng.random() < 0.4:
            fitting = [verb for verb in lexicon.TRANSITIVE if self.thing.noun in OBJECTS_OF[verb.en]]
            return self.rng.choice(fitting)
        return self.rng.choice(lexicon.TRANSITIVE)

    def _time(self, tense: str | None, front: bool) -> Phrase:
        letter = {"past": "p", "present": "r", "modal": "f"}.get(tense or "", "")
        if self.rng.random() < 0.04 and letter in ("", "p"):
            return lexicon.year_phrase(self.rng.choice(tuple(lexicon.YEARS)))
        return self.rng.choice(
            [phrase for phrase in lexicon.TIMES if letter in phrase.kind and (front or "1" not in phrase.kind)]
        )

    def _place(self, thing: Noun | None) -> Phrase:
        kinds = "t" if thing is not None and thing.group in TOWN_ONLY else "iot"
        return self.rng.choice([phrase for phrase in lexicon.PLACES if phrase.kind in kinds])

    def _clause(
        self,
        subject: NounPhrase,
        time_chance: float,
        tense: str | None = None,
        modal: str = "",
        extra: bool = False,
        front: bool = True,
        simple_object: bool = False,
    ) -> Clause:
        verb = self._verb()
        thing = self._object(verb, subject, simple_object)
        time: Phrase | None = None
        if self.rng.random() < time_chance and tense != "perfect":
            time = self._time(tense, front)
            tense = tense or TENSES[self.rng.choice(time.kind.strip("1"))]
        tense = tense or self.rng.choices(("present", "perfect", "modal"), (4, 4, 3))[0]
        place = None
        if extra and not subject.relative and self.rng.random() < (0.2 if time else 0.4):
            place = Adverbial(self._id(), self._place(thing.noun))
        word = None
        if tense == "modal":
            word = self.rng.choices(lexicon.MODALS, MODAL_WEIGHTS)[0]
            if modal or verb.en in UNINTENDED:
                modal = modal or "will"
                word = next(entry for entry in lexicon.MODALS if entry.key == modal)
        adverbial = Adverbial(self._id(), time) if time else None
        first = time is not None and front and ("1" in time.kind or self.rng.random() < 0.3)
        return Clause(self._id(), subject, verb, tense, word, thing, None, place, adverbial, first)

    def _intransitive(self, subject: NounPhrase, tense: str | None = None) -> Clause:
        verb = self.rng.choice(lexicon.INTRANSITIVE)
        time: Phrase | None = None
        if tense is None and self.rng.random() < 0.5:
            time = self._time(None, True)
            tense = TENSES[self.rng.choice(time.kind.strip("1"))]
        tense = tense or self.rng.choices(("present", "perfect", "modal"), (4, 3, 3))[0]
        place = Adverbial(self._id(), self._place(None)) if time is None and self.rng.random() < 0.5 else None
        word = self.rng.choices(lexicon.MODALS, MODAL_WEIGHTS)[0] if tense == "modal" else None
        adverbial = Adverbial(self._id(), time) if time else None
        first = time is not None and ("1" in time.kind or self.rng.random() < 0.5)
        return Clause(self._id(), subject, verb, tense, word, None, None, place, adverbial, first)

    def _remember(self, meaning: Meaning) -> None:
        """Keep what the next sentence may call he, she, they or it: only what is unambiguous."""
        phrases = [np for clause in meaning.clauses() for np in (clause.subject, clause.object) if np is not None]
        phrases += [np.relative.object for np in phrases if np.relative and np.relative.object]
        self.known |= {np.noun.en for np in phrases if not np.plural}
        people = [np for np in phrases if np.noun.sex]
        things = [np for np in phrases if not np.noun.sex]
        subject = meaning.main.subject
        like = (subject.noun.sex, subject.plural)
        rivals = [np for np in people if np.noun != subject.noun and (np.noun.sex, np.plural) == like]
        self.person = subject if subject.noun.sex and not rivals else None
        kinds = {(np.noun.en, np.plural) for np in things}
        self.thing = things[-1] if len(kinds) == 1 else None
