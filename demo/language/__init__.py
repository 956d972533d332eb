"""A controlled language, English to German, Italian and Chinese, with word alignments known by construction."""

from demo.language.english import spoken_form, spoken_units
from demo.language.grammar import realise, sample_document, sample_sentences
from demo.language.meaning import Meaning
from demo.language.realisation import Realisation, Unit, alignment

__all__ = [
    "Meaning",
    "Realisation",
    "Unit",
    "alignment",
    "realise",
    "sample_document",
    "sample_sentences",
    "spoken_form",
    "spoken_units",
]
