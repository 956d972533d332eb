"""Chinese surface of a meaning: measure words, 了 and 的, adverbials and limiting clauses in front."""

from __future__ import annotations

from demo.language.lexicon import SAYING
from demo.language.meaning import Clause, Meaning, NounPhrase, Part, adverbial_units
from demo.language.realisation import Realisation, Unit, finish, punctuate, unit

PRONOUNS = {"m": "他", "f": "她", "": "它"}
SAYING_WORDS = frozenset(verb.zh for verb in SAYING)
CONSEQUENCES = {"because": "所以", "although": "但是"}  # said in the main clause after a clause with this link


def realise_chinese(meaning: Meaning, late: bool = False) -> Realisation:
    """The Chinese sentence; `late` keeps the English order of adverbials and clauses."""
    main = _clause(meaning.main, late)
    if meaning.other is None or meaning.link is None:
        return finish("zh", main)
    key, concept = meaning.link.key, meaning.id + Part.LINK
    opening, closing = meaning.link.zh
    other = _clause(meaning.other, late, aspect=not closing)
    if opening:
        other = [unit(opening, concept), *other]
    if closing:
        other = [*other, unit(closing, concept)]
    if key == "that":
        return finish("zh", main + other)
    keeps_order = key in ("because", "and", "but") or late
    if not meaning.other_first and keeps_order:
        return finish("zh", [*punctuate(main, "，"), *other])
    consequence = [unit(CONSEQUENCES[key], concept)] if key in CONSEQUENCES else []
    return finish("zh", [*punctuate(other, "，"), *consequence, *main])


def noun_phrase(np: NounPhrase) -> list[Unit]:
    """The noun phrase; relative clause and adjective precede the noun."""
    noun, head = np.noun, np.id + Part.HEAD
    if np.form == "pronoun":
        return [unit(PRONOUNS[noun.sex] + ("们" if np.plural else ""), head)]
    if np.form == "name":
        return [unit(noun.zh, head)]
    words: list[Unit] = []
    if np.relative:
        words += [*_predicate(np.relative, False), unit("的", np.id + Part.RELATIVE)]
    if np.quantity and np.quantity.zh[0].endswith("-"):
        words.append(unit(np.quantity.zh[0][:-1], np.id + Part.DETERMINER))
    elif np.quantity:
        words.append(unit(np.quantity.zh[0] + noun.measure, np.id + Part.DETERMINER))
    elif np.form == "indefinite":
        words.append(unit("一" + noun.measure, np.id + Part.DETERMINER))
    if np.adjective:
        words.append(unit(np.adjective.zh + "的", np.id + Part.ADJECTIVE))
    return [*words, unit(noun.zh, head)]


def _clause(clause: Clause, late: bool, aspect: bool = True) -> list[Unit]:
    front = adverbial_units(clause.time, "zh") if clause.time_first else []
    if front and clause.subject.quantity:  # keeps 星期四 and 七位 apart
        front = punctuate(front, "，")
    return [*front, *noun_phrase(clause.subject), *_predicate(clause, late, aspect)]


def _predicative(clause: Clause) -> list[Unit]:
    adjective, concept = clause.predicate, clause.id + Part.PREDICATE
    if adjective is None:
        return []
    if adjective.zh_style == "=":
        return [unit("是", clause.id + Part.VERB), unit(adjective.zh + "的", concept)]
    if adjective.zh_style == "!":
        return [unit(adjective.zh, concept), unit("了", clause.id + Part.VERB)]
    return [unit("很", clause.id + Part.VERB), unit(adjective.zh, concept)]


def _predicate(clause: Clause, late: bool, aspect: bool = True) -> list[Unit]:
    """Everything after the subject; without `aspect` the verb takes no 了, as in 当…的时候."""
    time = [] if clause.time_first else adverbial_units(clause.time, "zh")
    place = adverbial_units(clause.place, "zh")
    if clause.verb is None:
        return (_predicative(clause) + time) if late else time + _predicative(clause)
    verb, aux = clause.id + Part.VERB, clause.id + Part.AUXILIARY
    modal = [unit(clause.modal.zh[0], aux)] if clause.modal else []
    words = [unit(clause.verb.zh, verb)]
    if clause.tense in ("past", "perfect"):
        if clause.verb.zh in SAYING_WORDS or not aspect:
            words = [unit(clause.verb.zh, verb, aux)]
        else:
            words.append(unit("了", verb, aux))
    if clause.object:
        words += noun_phrase(clause.object)
    if not late:
        return time + modal + place + words
    tail = [*punctuate(place, "，"), *time] if place and time else place + time
    body = modal + words
    return [*punctuate(body, "，"), *tail] if tail else body
