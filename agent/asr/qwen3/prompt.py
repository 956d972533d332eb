"""What Qwen3-ASR and its forced aligner are asked, and how the recogniser's answer is read.

Both prompts are written out here and nowhere else: the audio's place is fixed, and nothing that a caller gives can
come before the aligner's audio (a chat turn there shifts its times) or open a turn of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from agent.errors import UserError

AUDIO_START, AUDIO_PAD, AUDIO_END = "<|audio_start|>", "<|audio_pad|>", "<|audio_end|>"
TEXT_MARKER = "<asr_text>"
TIME_MARKER = "<timestamp>"

LANGUAGES = {
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "it": "Italian",
    "pt": "Portuguese",
    "ru": "Russian",
    "yue": "Cantonese",
    "zh": "Chinese",
}
"""Languages that the recogniser and the aligner share and that are split into words by spaces or characters. The
aligner also knows Japanese and Korean, whose words take a morphological analyser; it knows no Czech."""

MAX_ROUNDS = 20
"""The same one to twenty characters more often than this in a row are a loop."""

_SPECIAL = re.compile(r"<\|[^<>|]*\|>|<asr_text>|<timestamp>")
_LANGUAGE_TAG = re.compile(r"\s*language[ \t]+(?P<name>[^\s<]+)[^<]*<asr_text>", re.IGNORECASE)
_LOOP = re.compile(rf"(.{{1,20}}?)\1{{{MAX_ROUNDS},}}", re.DOTALL)


@dataclass(frozen=True)
class Answer:
    """``language``: what the recogniser was told or says was spoken; None when it did not say. No speech: no text."""

    language: str | None
    text: str


def language_name(code: str) -> str:
    """English name of a language; UserError when recogniser and aligner do not share it."""
    if code not in LANGUAGES:
        raise UserError(
            f"Qwen3-ASR's forced aligner has no word times for '{code}'; use one of {', '.join(LANGUAGES)}."
        )
    return LANGUAGES[code]


def recognition_prompt(n_pieces: int, language: str = "", context: str = "", prefix: str = "") -> str:
    """Text of a transcription request, with one `AUDIO_PAD` for each piece of its audio.

    ``language`` (a name) forces the language, so that plain text follows. ``context``: words to expect. ``prefix``: the
    beginning of the transcript, which the answer continues; only with a forced language. The system turn is there even
    when it is empty.
    """
    if prefix and not language:
        raise ValueError("a prefix needs a forced language: without one the answer begins with its own tag")
    forced = f"language {language}{TEXT_MARKER}{strip_special(prefix)}" if language else ""
    return (
        f"<|im_start|>system\n{strip_special(context)}<|im_end|>\n"
        f"<|im_start|>user\n{_audio(n_pieces)}<|im_end|>\n"
        f"<|im_start|>assistant\n{forced}"
    )


def alignment_prompt(n_pieces: int, units: Sequence[str]) -> str:
    """Text of an alignment request: the audio, then each unit with the markers of its start and its end.

    ``units``: see `agent.asr.qwen3.words.split_words`; ValueError when one holds anything but letters, digits and
    apostrophes.
    """
    for unit in units:
        if _SPECIAL.search(unit) or not unit or any(character in "<|>" or character.isspace() for character in unit):
            raise ValueError(f"{unit!r} is not a unit of the aligner")
    return _audio(n_pieces) + "".join(f"{unit}{TIME_MARKER}{TIME_MARKER}" for unit in units)


def _audio(n_pieces: int) -> str:
    return f"{AUDIO_START}{AUDIO_PAD * n_pieces}{AUDIO_END}"


def strip_special(text: str) -> str:
    """``text`` without the tokenizer's special tokens, which would open or close a turn."""
    while (shorter := _SPECIAL.sub("", text)) != text:
        text = shorter
    return text


def parse_answer(raw: str, language: str = "") -> Answer:
    """Read what the recogniser wrote. ``language``: the one that was forced.

    A tag that comes although the language was forced is dropped; ``language None`` means no speech. Loops of
    characters are cut down to one round.
    """
    spoken: str | None = language or None
    tag = _LANGUAGE_TAG.match(raw)
    if tag:
        raw = raw[tag.end() :]
        spoken = None if tag["name"].casefold() == "none" else tag["name"]
        if spoken is None:
            return Answer(None, "")
    text = collapse_rounds(strip_special(raw)).strip()
    return Answer(spoken if text else None, text)


def collapse_rounds(text: str) -> str:
    """``text`` in which what comes more than `MAX_ROUNDS` times in a row comes once."""
    return _LOOP.sub(r"\1", text)
