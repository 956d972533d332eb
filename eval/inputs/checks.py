"""What can be wrong with a log before anything is scored; each finding is one UserError that names the talk."""

from __future__ import annotations

from collections.abc import Sequence

from agent.errors import UserError
from eval.inputs.log import SIMULEVAL, RunLog, Talk

SUBWORD_MARKS = ("▁", "Ġ", "@@")
ENOUGH_TOKENS = 20
"""Fewer tokens say nothing about their kind."""


def check(log: RunLog, talks: Sequence[Talk], unit: str) -> None:
    """UserError when the talks cannot be scored by ``unit`` (``word`` or ``char``)."""
    if not any(talk.n_tokens for talk in talks):
        raise UserError(f"{log.path} holds no translated text: every step emitted nothing. See the trace of the run.")
    for talk in talks:
        check_deletions(log, talk)
    check_unit(log, talks, unit)


def check_deletions(log: RunLog, talk: Talk) -> None:
    """Deleted tokens must be the last ones emitted."""
    shown: list[str] = []
    for step in talk.steps:
        deleted = step["deleted_tokens"]
        if deleted:
            if shown[-len(deleted) :] != deleted:
                raise UserError(
                    f"{log.path}, talk '{talk.name}' at {step['total_audio_processed']:g} s: the deleted tokens "
                    f"({' '.join(deleted[:5])}…) are not the last ones emitted."
                )
            del shown[-len(deleted) :]
        shown += step["generated_tokens"]


def check_unit(log: RunLog, talks: Sequence[Talk], unit: str) -> None:
    """Tokens must be of the kind that is counted."""
    tokens = [token for talk in talks for token in talk.tokens if token.strip()]
    marked = next((token for token in tokens if token.startswith(SUBWORD_MARKS[:2]) or token.endswith("@@")), None)
    if marked:
        raise UserError(
            f"{log.path} holds subword tokens ('{marked}'): put the system's config.yaml beside it, whose "
            "detokenizer_type says how they are joined."
        )
    if len(tokens) < ENOUGH_TOKENS:
        return
    single = sum(len(token.strip()) == 1 for token in tokens) / len(tokens)
    latin = sum(len(token) > 1 and token.isascii() for token in tokens) / len(tokens)
    if unit == "word" and single > 0.9:
        raise UserError(f"{log.path} holds single characters, but this language is scored by words: check --lang.")
    if unit == "char" and (latin > 0.5 or (log.format == SIMULEVAL and single < 0.9)):
        raise UserError(f"{log.path} holds words, but this language is scored by characters: check --lang.")


def erasure(talks: Sequence[Talk]) -> float:
    """Normalised erasure (flicker): tokens taken back per token of the final output; 0 for append-only systems.

    Source: Arivazhagan et al. 2020, Re-translation versus Streaming.
    """
    deleted = sum(len(step["deleted_tokens"]) for talk in talks for step in talk.steps)
    final = sum(talk.n_tokens for talk in talks) - deleted
    return deleted / final if final else 0.0
