"""Speak the talks: `python -m demo.make.talks` writes audio, segments and references for every talk of a split.

`python -m demo.make.talks --split dev|test --output DIR` renders the tuning or the comparison talks instead. Needs
espeak-ng; the text comes from `demo.make.talk_texts`, so the references in all languages are correct by construction.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from agent.errors import UserError
from demo.language import Meaning, Realisation, realise
from demo.language.realisation import LANGUAGES
from demo.make.talk_texts import TALK_SEEDS, Split, talk_documents

FOLDER = Path(__file__).parents[1] / "talks"
SAMPLE_RATE_HZ = 16_000
NOISE_LEVEL = 0.00015  # standard deviation of the noise floor, full scale = 1 (-76 dB)
PEAK_LEVEL = 0.35
SILENCE_LEVEL = 0.004  # below this, the edges of a spoken piece are cut off
LEAD_S = 0.5
COMMA_PAUSE_S = (0.15, 0.25)
SENTENCE_PAUSE_S = (0.55, 0.9)
Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Voice:
    """An espeak-ng voice and its speed in words a minute."""

    name: str
    speed: int


VOICES = (Voice("en-us+m6", 130), Voice("en-us+f2", 130))
"""Talks alternate between a lower and a higher voice."""


@dataclass(frozen=True)
class Talk:
    """A rendered talk; ``segments``: offset and duration of each sentence in seconds."""

    name: str
    speaker: int
    sentences: tuple[Meaning, ...]
    segments: tuple[tuple[float, float], ...]
    audio: Samples


def talk_names(split: Split) -> list[str]:
    """File stems of the talks of a split; the last evaluation talk is the long one."""
    count = len(TALK_SEEDS[split])
    if split != "eval":
        return [f"{split}-talk-{number}" for number in range(1, count + 1)]
    return [*(f"demo-talk-{number}" for number in range(1, count)), "demo-talk-long"]


def speak(text: str, voice: Voice) -> Samples:
    """One piece of speech at 16 kHz, without the silence around it."""
    program = shutil.which("espeak-ng")
    if program is None:
        raise UserError("espeak-ng is not installed: install the package espeak-ng to render the talks")
    command = [program, "-v", voice.name, "-s", str(voice.speed), "--stdout", text]
    finished = subprocess.run(command, capture_output=True, check=False)
    if finished.returncode:
        raise UserError(f"espeak-ng failed on {text!r}: {finished.stderr.decode(errors='replace').strip()}")
    start = finished.stdout.find(b"data")  # the header of a stream does not know its length
    samples = np.frombuffer(finished.stdout[start + 8 :][: (len(finished.stdout) - start - 8) // 2 * 2], np.int16)
    rate_hz = int.from_bytes(finished.stdout[24:28], "little")
    return _trim(resample(samples.astype(np.float64) / 32768.0, rate_hz))


def resample(samples: npt.NDArray[np.float64], rate_hz: int) -> Samples:
    """To 16 kHz by cutting the spectrum: exact for the short, silent-edged pieces used here."""
    padded = np.pad(samples, rate_hz // 10)
    padded = np.pad(padded, (0, -len(padded) % (rate_hz // 50)))  # whole blocks of 20 ms keep the ratio exact
    length = len(padded) * SAMPLE_RATE_HZ // rate_hz
    spectrum = np.fft.rfft(padded)[: length // 2 + 1]
    return (np.fft.irfft(spectrum, length) * (length / len(padded))).astype(np.float32)


def _trim(samples: Samples) -> Samples:
    loud = np.flatnonzero(np.abs(samples) > SILENCE_LEVEL)
    if not len(loud):
        return samples[:0]
    margin = SAMPLE_RATE_HZ // 100
    return samples[max(0, loud[0] - margin) : loud[-1] + margin]


def sentence_audio(sentence: Realisation, voice: Voice, rng: np.random.Generator) -> Samples:
    """A sentence, its clauses separated by a short pause at each comma."""
    pieces: list[Samples] = []
    for clause in sentence.text.split(", "):
        if pieces:
            pieces.append(_silence(rng.uniform(*COMMA_PAUSE_S)))
        pieces.append(speak(clause, voice))
    return np.concatenate(pieces)


def _silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE_HZ), np.float32)


def render(name: str, seed: int, speaker: int, documents: tuple[tuple[Meaning, ...], ...]) -> Talk:
    """Speak a talk; everything in it is fixed by its seed."""
    rng = np.random.default_rng(seed)
    voice = VOICES[speaker % len(VOICES)]
    sentences = tuple(meaning for document in documents for meaning in document)
    pieces: list[Samples] = [_silence(LEAD_S)]
    segments: list[tuple[float, float]] = []
    length = len(pieces[0])
    for meaning in sentences:
        spoken = sentence_audio(realise(meaning, "en"), voice, rng)
        pause = _silence(rng.uniform(*SENTENCE_PAUSE_S))
        segments.append((length / SAMPLE_RATE_HZ, len(spoken) / SAMPLE_RATE_HZ))
        pieces += [spoken, pause]
        length += len(spoken) + len(pause)
    audio = np.concatenate(pieces)
    audio *= PEAK_LEVEL / np.abs(audio).max()
    audio += rng.normal(0.0, NOISE_LEVEL, len(audio)).astype(np.float32)
    return Talk(name, speaker, sentences, tuple(segments), audio)


def render_split(split: Split) -> Iterator[Talk]:
    """Every talk of a split, in order."""
    rows = zip(talk_names(split), TALK_SEEDS[split], talk_documents(split), strict=True)
    for speaker, (name, seed, documents) in enumerate(rows):
        yield render(name, seed, speaker, documents)


def write(talks: list[Talk], folder: Path) -> None:
    """Audio, `audio-segments.yaml` and `ref.*.txt`, one line a sentence in each."""
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for talk in talks:
        soundfile.write(
            folder / f"{talk.name}.flac", talk.audio, SAMPLE_RATE_HZ, subtype="PCM_16", compression_level=1.0
        )
        lines += [
            f"- {{duration: {duration_s:.4f}, offset: {offset_s:.4f}, "
            f"speaker_id: '{talk.speaker % len(VOICES) + 1}', wav: {talk.name}.wav}}"
            for offset_s, duration_s in talk.segments
        ]
    (folder / "audio-segments.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for lang in LANGUAGES:
        text = "".join(realise(meaning, lang).text + "\n" for talk in talks for meaning in talk.sentences)
        (folder / f"ref.{lang}.txt").write_text(text, encoding="utf-8")


def main() -> int:
    """Render a split; 2 when espeak-ng is missing."""
    parser = argparse.ArgumentParser(description="Speak the talks with espeak-ng.")
    parser.add_argument("--split", choices=tuple(TALK_SEEDS), default="eval")
    parser.add_argument("--output", type=Path, help="folder to write to (default for eval: demo/talks)")
    arguments = parser.parse_args()
    if arguments.output is None and arguments.split != "eval":
        parser.error(f"--split {arguments.split} needs --output DIR")
    folder = arguments.output or FOLDER
    try:
        talks = list(render_split(arguments.split))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    write(talks, folder)
    for talk in talks:
        seconds = len(talk.audio) / SAMPLE_RATE_HZ
        print(f"{folder / talk.name}.flac: {seconds:.1f} s, {len(talk.sentences)} sentences")
    return 0


if __name__ == "__main__":
    sys.exit(main())
