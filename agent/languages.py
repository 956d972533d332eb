"""What is known of a language: its name in prompts, whether it writes spaces, how it is scored.

Which of them a recogniser or a translation model knows is for the models to say; this list only keeps typing errors
out. To add one, add a line to ``NAMES``, and to ``CHARACTERS`` if it writes no spaces between words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agent.errors import UserError, nearest

NAMES = {
    "af": "Afrikaans",
    "ar": "Arabic",
    "bg": "Bulgarian",
    "bn": "Bengali",
    "bs": "Bosnian",
    "ca": "Catalan",
    "cs": "Czech",
    "cy": "Welsh",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "et": "Estonian",
    "eu": "Basque",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "ga": "Irish",
    "gl": "Galician",
    "gu": "Gujarati",
    "he": "Hebrew",
    "hi": "Hindi",
    "hr": "Croatian",
    "hu": "Hungarian",
    "hy": "Armenian",
    "id": "Indonesian",
    "is": "Icelandic",
    "it": "Italian",
    "ja": "Japanese",
    "ka": "Georgian",
    "kk": "Kazakh",
    "km": "Khmer",
    "kn": "Kannada",
    "ko": "Korean",
    "lo": "Lao",
    "lt": "Lithuanian",
    "lv": "Latvian",
    "mk": "Macedonian",
    "ml": "Malayalam",
    "mr": "Marathi",
    "ms": "Malay",
    "mt": "Maltese",
    "my": "Burmese",
    "ne": "Nepali",
    "nl": "Dutch",
    "no": "Norwegian",
    "pa": "Punjabi",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sk": "Slovak",
    "sl": "Slovenian",
    "sq": "Albanian",
    "sr": "Serbian",
    "sv": "Swedish",
    "sw": "Swahili",
    "ta": "Tamil",
    "te": "Telugu",
    "th": "Thai",
    "tl": "Tagalog",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "ur": "Urdu",
    "vi": "Vietnamese",
    "yue": "Cantonese",
    "zh": "Chinese",
}
"""English names by ISO 639 code."""
CHARACTERS = {"ja": "ja-mecab", "km": "char", "lo": "char", "my": "char", "th": "char", "yue": "zh", "zh": "zh"}
"""Languages that write no spaces between words, with sacrebleu's tokenizer for their BLEU; the others have 13a."""
UNITS_PER_ENGLISH_WORD = {"ja": 2.2, "yue": 1.6, "zh": 1.6}
"""Characters that stand for a spoken word, as far as it is known, for wait-k; one word elsewhere."""


@dataclass(frozen=True)
class Language:
    """``name``: in English. ``unit``: what is committed whole and what latency is counted in.

    ``joiner``: what stands between two units. ``bleu_tokenizer``: sacrebleu's.
    """

    code: str
    name: str
    unit: Literal["word", "char"]
    joiner: Literal["", " "]
    bleu_tokenizer: str


def get(code: str) -> Language:
    """The language of an ISO 639 code; UserError with the nearest one when there is none."""
    if code not in NAMES:
        raise UserError(f"Unknown language '{code}'.{nearest(code, NAMES)}")
    if code in CHARACTERS:
        return Language(code, NAMES[code], "char", "", CHARACTERS[code])
    return Language(code, NAMES[code], "word", " ", "13a")


def writes_spaces(code: str) -> bool:
    """Whether words are written apart. Unknown codes are taken to be of such a language."""
    return code not in CHARACTERS
