"""English surface of a meaning, and how it is spoken."""

from __future__ import annotations

from demo.language.lexicon import YEARS
from demo.language.meaning import Clause, Meaning, NounPhrase, Part, adverbial_units
from demo.language.realisation import Realisation, Unit, finish, punctuate, unit

PRONOUNS = {"m": ("he", "him"), "f": ("she", "her"), "": ("it", "it")}


def realise_english(meaning: Meaning) -> Realisation:
    """The English sentence."""
    main = _clause(meaning.main)
    if meaning.other is None or meaning.link is None:
        return finish("en", main)
    link = unit(meaning.link.en[0], meaning.id + Part.LINK)
    other = _clause(meaning.other)
    if meaning.other_first:
        return finish("en", [link, *punctuate(other, ","), *main])
    if meaning.link.key in ("but", "and"):
        main = punctuate(main, ",")
    return finish("en", [*main, link, *other])


def noun_phrase(np: NounPhrase, objective: bool = False) -> list[Unit]:
    """The noun phrase with its relative clause."""
    head = np.id + Part.HEAD
    if np.form == "pronoun":
        forms = ("they", "them") if np.plural else PRONOUNS[np.noun.sex]
        return [unit(forms[objective], head)]
    if np.form == "name":
        return [unit(np.noun.en, head)]
    words = [unit(np.adjective.en, np.id + Part.ADJECTIVE)] if np.adjective else []
    words += [unit(word, head) for word in (np.noun.en_plural if np.plural else np.noun.en).split()]
    if np.quantity:
        determiner = [unit(word, np.id + Part.DETERMINER) for word in np.quantity.en]
    elif np.form == "definite":
        determiner = [unit("the", np.id + Part.DETERMINER)]
    else:
        first = words[0].text
        vowel = (first[0] in "aeiou" and not first.startswith("uni")) or first.startswith("hon")
        determiner = [unit("an" if vowel else "a", np.id + Part.DETERMINER)]
    if np.relative:
        words += [unit("who", np.id + Part.RELATIVE), *_predicate(np.relative)]
    return determiner + words


def _clause(clause: Clause) -> list[Unit]:
    front = adverbial_units(clause.time, "en") if clause.time_first else []
    return front + noun_phrase(clause.subject) + _predicate(clause)


def _verb_units(clause: Clause) -> list[Unit]:
    plural, verb, aux = clause.subject.plural, clause.id + Part.VERB, clause.id + Part.AUXILIARY
    if clause.verb is None:
        return [unit("are" if plural else "is", verb)]
    if clause.modal:
        modal = [unit(word, aux) for word in clause.modal.en[plural].split()]
        return [*modal, unit(clause.verb.en, verb)]
    if clause.tense == "perfect":
        return [unit("have" if plural else "has", aux), unit(clause.verb.en_participle, verb)]
    if clause.tense == "past":
        return [unit(clause.verb.en_past, verb, aux)]
    return [unit(clause.verb.en if plural else clause.verb.en_third, verb)]


def _predicate(clause: Clause) -> list[Unit]:
    words = _verb_units(clause)
    particle = [unit(clause.verb.en_particle, clause.id + Part.VERB)] if clause.verb and clause.verb.en_particle else []
    thing = noun_phrase(clause.object, objective=True) if clause.object else []
    pronoun = clause.object is not None and clause.object.form == "pronoun"
    words += thing + particle if pronoun else particle + thing
    if clause.predicate:
        words.append(unit(clause.predicate.en, clause.id + Part.PREDICATE))
    time = [] if clause.time_first else adverbial_units(clause.time, "en")
    return words + adverbial_units(clause.place, "en") + time


def spoken_units(realisation: Realisation) -> list[tuple[str, int]]:
    """Lower-case spoken words without punctuation, each with the index of its unit; years are read as two numbers."""
    spoken: list[tuple[str, int]] = []
    for index, item in enumerate(realisation.units):
        bare = item.text.strip(".,").lower()
        words = YEARS[int(bare)] if bare.isdigit() else bare
        spoken += [(word, index) for word in words.split()]
    return spoken


def spoken_form(realisation: Realisation) -> list[str]:
    """The words of an English realisation as spoken and recognised."""
    return [word for word, _ in spoken_units(realisation)]
