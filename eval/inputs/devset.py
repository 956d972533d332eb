"""``alignatt devset FOLDER``: a downloaded test set to what runs and scoring want.

In: a segmentation, ``ref.<lang>.txt`` (or one ``*.<lang>.txt`` per language), recordings as WAV, MP4 or anything FFmpeg
reads, anywhere below the folder. Out: 16 kHz mono WAVs, the segmentation and repaired references under their usual
names, ``talks.txt`` and ``devset.json`` (hashes, lengths, repaired lines).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from agent.errors import UserError
from agent.run.folder import write_json
from agent.run.manifest import sha256
from agent.run.talks import AUDIO_SUFFIXES, Talk, convert
from eval.inputs import quotes
from eval.inputs.references import SEGMENTS_NAME, read_lines, read_segmentation, stem

LANGUAGES = ("en", "de", "it", "zh", "cs")
DESCRIPTION, TALKS_NAME = "devset.json", "talks.txt"
END_TOLERANCE_S = 0.5
"""How far a segment may reach beyond its recording: times of segments are rounded."""
KNOWN = {
    "IWSLT 2026 simultaneous dev set, English to German, Italian and Chinese": {
        SEGMENTS_NAME: "d50212b4bac17e42deffb832b766497f3a88fbaed261ccafd8fffa71a899e3a0",
        "ref.en.txt": "c23a9146c4930e5a0758e7331ddeb78a045ff52dfbe3ade51491233de881f84d",
        "ref.de.txt": "f4a4047634762a0be3321716110a4c9c8875f622ce8001be9f43fe764952b8e6",
        "ref.it.txt": "a1311b25de809dd1f718f61359d0063aef7488b76cc67857bcefd42be44cd2c1",
        "ref.zh.txt": "6d951fbed138bb9967c8e683c7b6625130d287fbdd2c3bfdea743c4027012f1c",
    }
}
"""SHA-256 of the files of published sets, references repaired."""


@dataclass(frozen=True)
class Text:
    """References of one language: ``lines`` repaired, ``repaired`` the numbers of those that were changed."""

    lines: tuple[str, ...]
    repaired: tuple[int, ...]


def make(folder: Path, output: Path, segments: Path | None, force: bool) -> dict[str, Any]:
    """Write ``output`` at once and return what devset.json says; UserError for a set that cannot be used."""
    if output.exists() and (not force or not (output / DESCRIPTION).is_file()):
        raise UserError(f"--output {output} exists: name a new folder, or give --force to replace a set.")
    segments = segments or _one(folder, ("*.yaml", "*.yml"), "segmentation (YAML)", "--segments")
    texts = {language: path for language in LANGUAGES if (path := _text(folder, language))}
    if not texts:
        raise UserError(f"{folder} holds no references: ref.<lang>.txt, one line per segment of {segments.name}.")
    entries = read_segmentation(segments)
    read = {language: _read(path, segments, entries) for language, path in texts.items()}
    ends_s = _ends(entries)
    sources = _recordings(folder, tuple(ends_s))
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as scratch:
        work = Path(scratch) / output.name
        work.mkdir()
        talks = [convert(source, work) for source in tqdm(sources, desc="converting", unit="talk", disable=None)]
        _check_lengths(talks, ends_s)
        shutil.copyfile(segments, work / SEGMENTS_NAME)
        for language, text in read.items():
            content = "".join(f"{line}\n" for line in text.lines)
            (work / f"ref.{language}.txt").write_text(content, encoding="utf-8")
        (work / TALKS_NAME).write_text("".join(f"{talk.wav.name}\n" for talk in talks), encoding="utf-8")
        made = describe(work, talks, read)
        write_json(work / DESCRIPTION, made)
        if output.exists():
            output.rename(Path(scratch) / "old")
        work.rename(output)
    return made


def describe(work: Path, talks: Sequence[Talk], texts: Mapping[str, Text]) -> dict[str, Any]:
    """What devset.json holds. ``known``: the published set that the texts are, and which of them differ from it."""
    files = {path.name: sha256(path) for path in (work / SEGMENTS_NAME, *sorted(work.glob("ref.*.txt")))}
    known = next((name for name, sums in KNOWN.items() if sums[SEGMENTS_NAME] == files[SEGMENTS_NAME]), None)
    differ = [name for name, digest in files.items() if known and KNOWN[known].get(name, digest) != digest]
    return {
        "known": known,
        "differ": differ,
        "audio_s": round(sum(talk.duration_s for talk in talks), 3),
        "talks": [
            {
                "name": talk.name,
                "source": talk.source.name,
                "source_sha256": sha256(talk.source),
                "wav_sha256": sha256(talk.wav),
                "duration_s": talk.duration_s,
            }
            for talk in talks
        ],
        "files": files,
        "repaired": {language: list(text.repaired) for language, text in texts.items() if text.repaired},
    }


def _read(path: Path, segments: Path, entries: Sequence[dict[str, Any]]) -> Text:
    lines = read_lines(path, len(entries), segments)
    repaired = quotes.repair(lines, [stem(entry) for entry in entries])
    changed = tuple(i for i, (old, new) in enumerate(zip(lines, repaired, strict=True), start=1) if old != new)
    return Text(repaired, changed)


def _ends(entries: Sequence[dict[str, Any]]) -> dict[str, float]:
    """End of each talk's last segment, seconds."""
    ends: dict[str, float] = {}
    for entry in entries:
        ends[stem(entry)] = max(ends.get(stem(entry), 0.0), entry["offset"] + entry["duration"])
    return ends


def _recordings(folder: Path, names: tuple[str, ...]) -> list[Path]:
    found: dict[str, list[Path]] = {name: [] for name in names}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in AUDIO_SUFFIXES and path.stem in found:
            found[path.stem].append(path)
    missing = [name for name, paths in found.items() if not paths]
    if missing:
        raise UserError(
            f"{folder} has no recording of {len(missing)} of {len(names)} talks of the segmentation: "
            f"{', '.join(missing)}. Put them there as WAV, MP4 or the like, named as in the segmentation."
        )
    # Where a talk is there twice, WAV comes before a film: it has been through one conversion less.
    return [min(paths, key=lambda path: (path.suffix.lower() != ".wav", path)) for paths in found.values()]


def _check_lengths(talks: Sequence[Talk], ends_s: Mapping[str, float]) -> None:
    short = [t for t in talks if ends_s[t.name] > t.duration_s + END_TOLERANCE_S]
    if short:
        listed = ", ".join(
            f"{t.name} ({t.duration_s:.1f} s, last segment ends at {ends_s[t.name]:.1f} s)" for t in short
        )
        raise UserError(f"Recordings shorter than their segmentation: {listed}. Download them again.")


def _text(folder: Path, language: str) -> Path | None:
    exact = sorted(folder.rglob(f"ref.{language}.txt"))
    return (
        exact[0] if exact else _at_most_one(folder, (f"*.{language}.txt",), f"references in {language}", "ref.LANG.txt")
    )


def _one(folder: Path, patterns: Sequence[str], what: str, option: str) -> Path:
    if not folder.is_dir():
        raise UserError(f"No folder {folder}: give the one that the set was downloaded to.")
    exact = folder / SEGMENTS_NAME
    found = exact if exact.is_file() else _at_most_one(folder, patterns, what, option)
    if found is None:
        raise UserError(f"{folder} holds no {what}: name it with {option}.")
    return found


def _at_most_one(folder: Path, patterns: Sequence[str], what: str, option: str) -> Path | None:
    found = sorted(path for pattern in patterns for path in folder.rglob(pattern))
    if len(found) > 1:
        raise UserError(f"{folder} holds {len(found)} files that may be the {what} ({found[0].name}, …): use {option}.")
    return found[0] if found else None
