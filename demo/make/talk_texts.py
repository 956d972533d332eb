"""What the talks say: their documents by seed, and the English sentences that training must leave out."""

from __future__ import annotations

import random
from functools import cache
from typing import Literal

from demo.language import Meaning, realise, sample_document

Split = Literal["eval", "dev", "test"]
TALK_SEEDS: dict[Split, tuple[int, ...]] = {
    "eval": (9101, 9102, 9103, 9104),
    "dev": tuple(range(9201, 9207)),
    "test": tuple(range(9502, 9512)),
}
"""One seed a talk; the last of ``eval`` is the long one. ``eval`` is shipped; settings are chosen on ``dev`` and
policies compared on ``test`` (seeds that share no sentence with any other split), which are spoken when asked for."""
N_DOCUMENTS = {9104: 20}
"""Paragraphs of three to five sentences in a talk; five unless given here."""
N_CLEAN_TEST = 200


@cache
def talk_documents(split: Split) -> tuple[tuple[tuple[Meaning, ...], ...], ...]:
    """For each talk its paragraphs, each a tuple of consecutive sentences."""
    talks = []
    for seed in TALK_SEEDS[split]:
        rng = random.Random(seed)
        talks.append(tuple(tuple(sample_document(rng, rng.randint(3, 5))) for _ in range(N_DOCUMENTS.get(seed, 5))))
    return tuple(talks)


@cache
def clean_test_documents() -> tuple[tuple[Meaning, ...], ...]:
    """Two hundred single sentences, unseen in training, for the offline check of the model."""
    rng = random.Random(9301)
    return tuple(tuple(sample_document(rng, 1)) for _ in range(N_CLEAN_TEST))


@cache
def held_out_sources() -> frozenset[str]:
    """English text of every sentence of the talks and of the clean test."""
    documents = [document for split in TALK_SEEDS for talk in talk_documents(split) for document in talk]
    return frozenset(
        realise(meaning, "en").text for document in (*documents, *clean_test_documents()) for meaning in document
    )
