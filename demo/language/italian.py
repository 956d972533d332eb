"""Italian surface of a meaning: articles by sound, agreement, object clitics and the compound past with avere."""

from __future__ import annotations

from demo.language.lexicon import Adjective
from demo.language.meaning import Clause, Meaning, NounPhrase, Part, adverbial_units
from demo.language.realisation import Realisation, Unit, finish, punctuate, unit

SUBJECT_PRONOUNS = {"m": "lui", "f": "lei"}
VOWELS = "aeiouàèéìòùh"


def realise_italian(meaning: Meaning) -> Realisation:
    """The Italian sentence."""
    main = _clause(meaning.main)
    if meaning.other is None or meaning.link is None:
        return finish("it", main)
    conjunction = "siccome" if meaning.link.key == "because" and meaning.other_first else meaning.link.it[0]
    link = [unit(word, meaning.id + Part.LINK) for word in conjunction.split()]
    other = _clause(meaning.other)
    if meaning.other_first:
        return finish("it", [*link, *punctuate(other, ","), *main])
    if meaning.link.key == "but":
        main = punctuate(main, ",")
    return finish("it", [*main, *link, *other])


def article(form: str, gender: str, plural: bool, following: str) -> str:
    """The article that fits the sound of the following word; forms that elide end in an apostrophe."""
    first = following.lower()
    vowel = first[0] in VOWELS
    heavy = first[0] in "zxy" or first[:2] in ("gn", "ps") or (first[0] == "s" and first[1] not in VOWELS)
    if plural:
        return "le" if gender == "f" else "gli" if vowel or heavy else "i"
    if form == "definite":
        if vowel:
            return "l'"
        return "la" if gender == "f" else "lo" if heavy else "il"
    if gender == "f":
        return "un'" if vowel else "una"
    return "uno" if heavy else "un"


def agree(adjective: Adjective, gender: str, plural: bool) -> str:
    """The adjective's form for a gender and number."""
    base = adjective.it
    if adjective.it_plural == "-":
        return base
    if not base.endswith("o"):
        return base[:-1] + "i" if plural else base
    if gender == "m":
        return adjective.it_plural if plural else base
    if not plural:
        return base[:-1] + "a"
    return base[:-1] + ("he" if base[-2] in "cg" else "e")


def _elide(first: Unit, second: Unit) -> list[Unit]:
    if first.text.endswith("'"):
        return [Unit(first.text + second.text, first.concepts | second.concepts)]
    return [first, second]


def noun_phrase(np: NounPhrase) -> list[Unit]:
    """The noun phrase with its relative clause; pronouns are the stressed subject forms."""
    noun, head = np.noun, np.id + Part.HEAD
    if np.form == "pronoun":
        return [unit("loro" if np.plural else SUBJECT_PRONOUNS[noun.sex], head)]
    if np.form == "name":
        return [unit(noun.it, head)]
    nouns = [unit(word, head) for word in (noun.it_plural if np.plural else noun.it).split()]
    if np.quantity:
        determiner = unit(np.quantity.it[noun.it_gender == "f"], np.id + Part.DETERMINER)
    else:
        text = article(np.form, noun.it_gender, np.plural, nouns[0].text)
        determiner = unit(text, np.id + Part.DETERMINER)
    words = [*_elide(determiner, nouns[0]), *nouns[1:]]
    if np.adjective:
        form = agree(np.adjective, noun.it_gender, np.plural)
        words += [unit(word, np.id + Part.ADJECTIVE) for word in form.split()]
    if np.relative:
        words += [unit("che", np.id + Part.RELATIVE), *_predicate(np.relative)]
    return words


def _clause(clause: Clause) -> list[Unit]:
    front = adverbial_units(clause.time, "it") if clause.time_first else []
    subject = clause.subject
    if subject.form == "pronoun" and not subject.noun.sex:  # things have no spoken subject pronoun
        verb, *rest = _predicate(clause)
        return [*front, Unit(verb.text, verb.concepts | {subject.id + Part.HEAD}), *rest]
    return front + noun_phrase(subject) + _predicate(clause)


def _verb_units(clause: Clause) -> list[Unit]:
    plural, verb, aux = clause.subject.plural, clause.id + Part.VERB, clause.id + Part.AUXILIARY
    entry = clause.verb
    if entry is None:
        return [unit("sono" if plural else "è", verb)]
    if clause.modal and clause.modal.key == "will":
        return [unit(entry.it_future + ("anno" if plural else "à"), verb, aux)]
    if clause.modal:
        return [unit(clause.modal.it[plural], aux), *_split(entry.it, verb)]
    if clause.tense != "present":
        return [unit("hanno" if plural else "ha", aux), *_split(entry.it_participle, verb)]
    return _split(entry.it_plural if plural else entry.it_third, verb)


def _split(text: str, concept: int) -> list[Unit]:
    return [unit(word, concept) for word in text.split()]


def _with_clitic(clause: Clause, words: list[Unit], thing: NounPhrase) -> list[Unit]:
    """Put the object pronoun before the finite verb; the participle agrees with it."""
    gender = thing.noun.it_gender
    clitic = {("m", False): "lo", ("f", False): "la", ("m", True): "li", ("f", True): "le"}[gender, thing.plural]
    words = list(words)
    if clause.tense in ("past", "perfect"):
        ending = {"lo": "o", "la": "a", "li": "i", "le": "e"}[clitic]
        participle = words[1]
        words[1] = Unit(participle.text[:-1] + ending, participle.concepts)
        if not thing.plural:
            clitic = "l'"
    return [*_elide(unit(clitic, thing.id + Part.HEAD), words[0]), *words[1:]]


def _predicate(clause: Clause) -> list[Unit]:
    words = _verb_units(clause)
    if clause.object and clause.object.form == "pronoun":
        words = _with_clitic(clause, words, clause.object)
    elif clause.object:
        words += noun_phrase(clause.object)
    if clause.predicate:
        form = agree(clause.predicate, clause.subject.noun.it_gender, clause.subject.plural)
        words += [unit(word, clause.id + Part.PREDICATE) for word in form.split()]
    time = [] if clause.time_first else adverbial_units(clause.time, "it")
    return words + adverbial_units(clause.place, "it") + time
