"""English surface of a meaning, and how it is spoken."""

from __future__ import annotations

from demo.language.lexicon import YEARS, plural_or_third
from demo.language.meaning import Adverbial, Clause, Meaning, NounPhrase
from demo.language.realisation import Realisation, Unit, finish, punctuate, unit

PRONOUNS = {"m": ("he", "him"), "f": ("she", "her"), "": ("it", "it")}


def realise_english(meaning: Meaning) -> Realisation:
    """The English sentence."""
    main = _clause(meaning.main)
    if meaning.other is None or meaning.link is None:
        return finish("en", main)
    link = unit(meaning.link.en[0], meaning.link_concept)
    other = _clause(meaning.other)
    if meaning.other_first:
        return finish("en", [link, *punctuate(other, ","), *main])
    if meaning.link.key in ("but", "and"):
        main = punctuate(main, ",")
    return finish("en", [*main, link, *other])


def noun_phrase(np: NounPhrase, objective: bool = False) -> list[Unit]:
    """The noun phrase with its relative clause."""
    head = np.head_concept
    if np.form == "pronoun":
        forms = ("they", "them") if np.plural else PRONOUNS[np.noun.sex]
        return [unit(forms[objective], head)]
    if np.form == "name":
        return [unit(np.noun.en, head)]
    words = [unit(np.adjective.en, np.adjective_concept)] if np.adjective else []
    words += [unit(word, head) for word in (np.noun.en_plural if np.plural else np.noun.en).split()]
    if np.quantity:
        determiner = [unit(word, np.determiner_concept) for word in np.quantity.en]
    elif np.form == "definite":
        determiner = [unit("the", np.determiner_concept)]
    else:
        first = words[0].text
        vowel = (first[0] in "aeiou" and not first.startswith("uni")) or first.startswith("hon")
        determiner = [unit("an" if vowel else "a", np.determiner_concept)]
    if np.relative:
        words += [unit("who", np.relative_concept), *_predicate(np.relative)]
    return determiner + words


def _adverbial(adverbial: Adverbial | None) -> list[Unit]:
    return [Unit(word, adverbial.concepts(tag)) for word, tag in adverbial.phrase.en] if adverbial else []


def _clause(clause: Clause) -> list[Unit]:
    front = _adverbial(clause.time) if clause.time_first else []
    return front + noun_phrase(clause.subject) + _predicate(clause)


def _verb_units(clause: Clause) -> list[Unit]:
    plural, verb, aux = clause.subject.plural, clause.verb_concept, clause.auxiliary_concept
    if clause.verb is None:
        return [unit("are" if plural else "is", verb)]
    if clause.modal:
        modal = [unit(word, aux) for word in clause.modal.en[plural].split()]
        return [*modal, unit(clause.verb.en, verb)]
    if clause.tense == "perfect":
        return [unit("have" if plural else "has", aux), unit(clause.verb.en_participle, verb)]
    if clause.tense == "past":
        return [unit(clause.verb.en_past, verb, aux)]
    return [unit(clause.verb.en if plural else plural_or_third(clause.verb.en), verb)]


def _predicate(clause: Clause) -> list[Unit]:
    words = _verb_units(clause)
    particle = [unit(clause.verb.en_particle, clause.verb_concept)] if clause.verb and clause.verb.en_particle else []
    thing = noun_phrase(clause.object, objective=True) if clause.object else []
    pronoun = clause.object is not None and clause.object.form == "pronoun"
    words += thing + particle if pronoun else particle + thing
    if clause.predicate:
        words.append(unit(clause.predicate.en, clause.predicate_concept))
    time = [] if clause.time_first else _adverbial(clause.time)
    return words + _adverbial(clause.place) + time


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
