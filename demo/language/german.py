"""German surface of a meaning: articles, endings, verb-second, verb-final clauses and separable prefixes."""

from __future__ import annotations

from demo.language.meaning import Clause, Meaning, NounPhrase, Part, adverbial_units
from demo.language.realisation import Realisation, Unit, finish, punctuate, unit

DEFINITE = {"nom": {"m": "der", "f": "die", "n": "das"}, "acc": {"m": "den", "f": "die", "n": "das"}}
INDEFINITE = {"nom": {"m": "ein", "f": "eine", "n": "ein"}, "acc": {"m": "einen", "f": "eine", "n": "ein"}}
WEAK = {"nom": {"m": "e", "f": "e", "n": "e"}, "acc": {"m": "en", "f": "e", "n": "e"}}
MIXED = {"nom": {"m": "er", "f": "e", "n": "es"}, "acc": {"m": "en", "f": "e", "n": "es"}}
PRONOUNS = {"nom": {"m": "er", "f": "sie", "n": "es"}, "acc": {"m": "ihn", "f": "sie", "n": "es"}}


def realise_german(meaning: Meaning, late: bool = False) -> Realisation:
    """The German sentence; `late` keeps the adverbials of English sentence ends at the end."""
    if meaning.other is None or meaning.link is None:
        return finish("de", _clause(meaning.main, "second", late))
    link = unit(meaning.link.de[0], meaning.id + Part.LINK)
    if meaning.link.key == "when" and meaning.other.tense == "past":
        link = unit("als", meaning.id + Part.LINK)
    if meaning.link.key in ("and", "but"):
        main = punctuate(_clause(meaning.main, "second", late), ",")
        return finish("de", [*main, link, *_clause(meaning.other, "second", late)])
    other = _clause(meaning.other, "final", late)
    if meaning.other_first:
        return finish("de", [link, *punctuate(other, ","), *_clause(meaning.main, "first", late)])
    return finish("de", [*punctuate(_clause(meaning.main, "second", late), ","), link, *other])


def noun_phrase(np: NounPhrase, case: str) -> list[Unit]:
    """The noun phrase in the nominative or accusative, with its relative clause."""
    noun, head = np.noun, np.id + Part.HEAD
    gender = noun.de_gender
    if np.form == "pronoun":
        return [unit("sie" if np.plural else PRONOUNS[case][noun.sex or gender], head)]
    if np.form == "name":
        return [unit(noun.de, head)]
    if np.form == "count" and np.quantity:
        determiner, ending = np.quantity.de[0], "e"
    elif np.form == "definite":
        determiner, ending = DEFINITE[case][gender], WEAK[case][gender]
    else:
        determiner, ending = INDEFINITE[case][gender], MIXED[case][gender]
    words = [unit(determiner, np.id + Part.DETERMINER)]
    if np.adjective:
        adjective = np.adjective
        form = adjective.de if adjective.de_stem == "-" else adjective.de_stem + ending
        words.append(unit(form, np.id + Part.ADJECTIVE))
    words.append(unit(noun.de_plural if np.plural else noun.de_weak if case == "acc" else noun.de, head))
    if np.relative:
        pronoun = unit(DEFINITE["nom"][gender], np.id + Part.RELATIVE)
        words = [*punctuate(words, ","), *punctuate(_order(np.relative, [pronoun], "final", False), ",")]
    return words


def _clause(clause: Clause, verb_place: str, late: bool) -> list[Unit]:
    return _order(clause, noun_phrase(clause.subject, "nom"), verb_place, late)


def _verb_units(clause: Clause, final: bool) -> tuple[list[Unit], list[Unit]]:
    """The finite verb, and what closes the clause: prefix, participle or infinitive."""
    plural, verb, aux = clause.subject.plural, clause.id + Part.VERB, clause.id + Part.AUXILIARY
    if clause.verb is None:
        predicate = clause.predicate
        closing = [unit(predicate.de, clause.id + Part.PREDICATE)] if predicate else []
        return [unit("sind" if plural else "ist", verb)], closing
    prefix = clause.verb.de_prefix
    if clause.modal:
        return [unit(clause.modal.de[plural], aux)], [unit(prefix + clause.verb.de, verb)]
    if clause.tense != "present":
        return [unit("haben" if plural else "hat", aux)], [unit(clause.verb.de_participle, verb)]
    finite = clause.verb.de if plural else clause.verb.de_third
    if final:
        return [unit(prefix + finite, verb)], []
    return [unit(finite, verb)], [unit(prefix, verb)] if prefix else []


def _order(clause: Clause, subject: list[Unit], verb_place: str, late: bool) -> list[Unit]:
    """Put the parts in order for a verb in `first`, `second` or `final` place."""
    final = verb_place == "final"
    finite, closing = _verb_units(clause, final)
    time, place = adverbial_units(clause.time, "de"), adverbial_units(clause.place, "de")
    front = time if clause.time_first and verb_place == "second" else []
    middle_time = [] if front or late else time
    thing = noun_phrase(clause.object, "acc") if clause.object else []
    form = clause.object.form if clause.object else ""
    middle: list[Unit] = []
    pronoun = thing if form == "pronoun" else []
    if late:
        middle = thing if form != "pronoun" else []
    elif form in ("definite", "name"):
        middle = middle_time + thing + place
    else:
        middle = middle_time + place + (thing if form != "pronoun" else [])
    tail = place + ([] if front else time) if late else []
    if final:
        return subject + pronoun + middle + closing + finite + tail
    if front:
        return front + finite + subject + pronoun + middle + closing + tail
    if verb_place == "first":
        return finite + subject + pronoun + middle + closing + tail
    return subject + finite + pronoun + middle + closing + tail
