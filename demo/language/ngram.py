"""Language model and pronunciations for recognising the spoken language: `python -m demo.language.ngram`.

Writes `demo/asr/lm.bin` (trigrams with Witten-Bell back-off) and `demo/asr/words.dict` (the CMU entries of
PocketSphinx, and how espeak-ng says each word where it says it differently). Both are text of this project; the
acoustic model comes with PocketSphinx.
"""

from __future__ import annotations

import random
import subprocess
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from math import log10
from pathlib import Path

from pocketsphinx import Decoder, LogMath, NGramModel

from demo.language.english import spoken_form
from demo.language.grammar import realise, sample_document
from demo.language.lexicon import read_table
from demo.make.talk_texts import held_out_sources

FOLDER = Path(__file__).parents[1] / "asr"
SEED = 4711
N_SENTENCES = 60_000
Ngram = tuple[str, ...]


def sample_words(sentences: int, seed: int = SEED) -> list[list[str]]:
    """Spoken sentences from documents of four, without those of the talks."""
    rng = random.Random(seed)
    held_out = held_out_sources()
    drawn = (realise(meaning, "en") for _ in range(sentences // 4) for meaning in sample_document(rng, 4))
    return [spoken_form(sentence) for sentence in drawn if sentence.text not in held_out]


def arpa(sentences: Iterable[Sequence[str]], minimum_count: int = 1) -> str:
    """Trigram model in ARPA format, with Witten-Bell back-off; rarer trigrams than `minimum_count` are left out."""
    counts: list[Counter[Ngram]] = [Counter(), Counter(), Counter()]
    for sentence in sentences:
        words = ("<s>", *sentence, "</s>")
        for order in (1, 2, 3):
            counts[order - 1].update(tuple(words[i : i + order]) for i in range(len(words) - order + 1))
    counts[2] = Counter({ngram: count for ngram, count in counts[2].items() if count >= minimum_count})
    probabilities = _unigrams(counts[0])
    backoffs: dict[Ngram, float] = {}
    for order in (2, 3):
        by_history: dict[Ngram, list[tuple[str, int]]] = defaultdict(list)
        for ngram, count in counts[order - 1].items():
            by_history[ngram[:-1]].append((ngram[-1], count))
        for history, followers in by_history.items():
            _witten_bell(history, followers, probabilities, backoffs)
    return _format(counts, probabilities, backoffs)


def _unigrams(counts: Counter[Ngram]) -> dict[Ngram, float]:
    total = sum(count for (word,), count in counts.items() if word != "<s>")
    return {ngram: 1e-9 if ngram == ("<s>",) else count / total for ngram, count in counts.items()}


def _witten_bell(
    history: Ngram,
    followers: list[tuple[str, int]],
    probabilities: dict[Ngram, float],
    backoffs: dict[Ngram, float],
) -> None:
    """Probabilities of what was seen after a history, and the weight of the shorter history for the rest."""
    total = sum(count for _, count in followers)
    kinds = len(followers)
    for word, count in followers:
        lower = _lower(history[1:], word, probabilities, backoffs)
        probabilities[(*history, word)] = (count + kinds * lower) / (total + kinds)
    seen = sum(probabilities[(*history, word)] for word, _ in followers)
    seen_lower = sum(_lower(history[1:], word, probabilities, backoffs) for word, _ in followers)
    backoffs[history] = max(1.0 - seen, 1e-6) / max(1.0 - seen_lower, 1e-6)


def _lower(history: Ngram, word: str, probabilities: dict[Ngram, float], backoffs: dict[Ngram, float]) -> float:
    """Probability after a shorter history, which has always been seen where the longer one has."""
    known = probabilities.get((*history, word))
    return known if known is not None else backoffs[history] * probabilities[(word,)]


def _format(counts: list[Counter[Ngram]], probabilities: dict[Ngram, float], backoffs: dict[Ngram, float]) -> str:
    lines = ["\\data\\", *(f"ngram {order}={len(counts[order - 1])}" for order in (1, 2, 3))]
    for order in (1, 2, 3):
        lines += ["", f"\\{order}-grams:"]
        for ngram in sorted(counts[order - 1]):
            entry = f"{log10(probabilities[ngram]):.4f}\t{' '.join(ngram)}"
            if order < 3:
                entry += f"\t{log10(backoffs.get(ngram, 1.0)):.4f}"
            lines.append(entry)
    return "\n".join([*lines, "", "\\end\\", ""])


PHONES = tuple((row["ipa"], row["cmu"]) for row in read_table("phones"))
"""espeak-ng's IPA, longest first, as the phones of the CMU dictionary."""


def arpabet(ipa: str) -> str:
    """CMU phones of an IPA string as espeak-ng prints it; unknown signs are an error."""
    rest = "".join(sign for sign in ipa if sign not in "ˈˌ_ \u200d\n")
    phones: list[str] = []
    while rest:
        for sign, phone in PHONES:
            if rest.startswith(sign):
                phones.append(phone)
                rest = rest[len(sign) :]
                break
        else:
            if rest[0] not in "ː̩":
                raise ValueError(f"espeak-ng phoneme {rest[0]!r} in {ipa!r} has no entry in PHONES")
            rest = rest[1:]
    return " ".join(phones)


def espeak_phones(words: Sequence[str], voice: str = "en-us") -> list[str]:
    """How espeak-ng says each word."""
    command = ["espeak-ng", "-q", "--ipa", "-v", voice, "\n".join(f"{word}." for word in words)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = [line.strip() for line in output.strip().splitlines()]
    if len(lines) != len(words):
        raise ValueError(f"espeak-ng gave {len(lines)} pronunciations for {len(words)} words")
    return [arpabet(line) for line in lines]


def pronunciations(words: Sequence[str]) -> str:
    """The dictionary file: for each word its CMU pronunciations and espeak-ng's."""
    decoder = Decoder(samprate=16000, loglevel="FATAL", lm=None)
    lines: list[str] = []
    for word, spoken in zip(words, espeak_phones(words), strict=True):
        variants: list[str] = []
        for key in (word, *(f"{word}({number})" for number in range(2, 6))):
            known = decoder.lookup_word(key)
            if known and known not in variants:
                variants.append(known)
        if spoken not in variants:
            variants.append(spoken)
        lines += [f"{word}{f'({number})' if number > 1 else ''} {phones}" for number, phones in enumerate(variants, 1)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write both files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    sentences = sample_words(N_SENTENCES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lm.arpa"
        path.write_text(arpa(sentences))
        model = NGramModel(None, LogMath(), str(path))
        model.write(str(FOLDER / "lm.bin"))
    words = sorted({word for sentence in sentences for word in sentence})
    (FOLDER / "words.dict").write_text(pronunciations(words))
    print(f"{len(words)} words, {(FOLDER / 'lm.bin').stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
