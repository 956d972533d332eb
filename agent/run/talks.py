"""Which talks a command line names, and their audio as simulstream wants it: 16 kHz, mono, 16-bit PCM.

Anything FFmpeg reads is accepted (WAV, FLAC, OGG, MP3, MP4 and more, any sample rate and channel count). `find_talks`
expands files, lists and folders; `convert` decodes one file.
"""

from __future__ import annotations

import logging
import wave
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from agent.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from av.audio.frame import AudioFrame
    from av.audio.resampler import AudioResampler
    from av.container import InputContainer

SAMPLE_RATE = 16_000
"""Samples per second that speech processors receive."""
AUDIO_SUFFIXES = frozenset(
    (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp4", ".m4a", ".m4v", ".mov", ".aac", ".webm", ".mkv", ".aif")
)
"""What a folder is searched for. A file named on the command line may have any suffix."""
LIST_SUFFIXES = frozenset((".txt", ".lst", ".list"))
MAX_BAD_SHARE = 0.02
"""A file is refused when more than this share of its packets cannot be decoded."""
LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Talk:
    """One recording. ``source`` is the file the user named, ``wav`` the same audio converted."""

    source: Path
    wav: Path
    duration_s: float

    @property
    def name(self) -> str:
        """What logs and references are matched by."""
        return self.source.stem


def find_talks(sources: Sequence[str | Path]) -> list[Path]:
    """Audio files that ``sources`` (audio files, lists of them, folders) name, in order.

    Raises UserError when one is missing or when two talks share a name (scoring matches talks by file stem).
    """
    paths = [path for source in sources for path in _expand(Path(source).expanduser())]
    seen: dict[str, Path] = {}
    for path in paths:
        if path.stem in seen:
            raise UserError(
                f"Two talks are named '{path.stem}' ({seen[path.stem]} and {path}): scoring matches talks by name, "
                "so rename one."
            )
        seen[path.stem] = path
    return paths


def convert(source: Path, folder: Path) -> Talk:
    """Write ``folder/<name>.wav`` (16 kHz mono PCM16) from any audio or video file; UserError if it has no audio."""
    samples = decode(source)
    target = folder / f"{source.stem}.wav"
    with wave.open(str(target), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes(samples.tobytes())
    return Talk(source.resolve(), target, len(samples) / SAMPLE_RATE)


def decode(source: Path) -> npt.NDArray[np.int16]:
    """int16[n] at 16 kHz: the first audio stream of ``source``, channels mixed; UserError if there is none."""
    import av
    import numpy as np

    check_audio_file(source)
    try:
        with av.open(str(source)) as container:
            if not container.streams.audio:
                raise UserError(f"{source} holds no audio stream.")
            blocks = list(_resample(_frames(container, source)))
    except (av.FFmpegError, ValueError) as error:
        raise UserError(
            f"{source} is not audio that can be read ({_reason(error)}); give WAV, FLAC, OGG, MP3 or MP4."
        ) from error
    samples = np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.int16)
    if not len(samples):
        raise UserError(f"{source} holds no audio: its length is 0 s.")
    return samples


def check_audio_file(path: Path) -> None:
    """UserError unless ``path`` is a readable, non-empty file."""
    if not path.exists():
        raise UserError(f"No such file: {path}; check the path given with --source.")
    if not path.is_file():
        raise UserError(f"{path} is not a file.")
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    if empty:
        raise UserError(f"{path} is empty (0 bytes); record or copy it again.")


def _expand(source: Path) -> list[Path]:
    if source.is_dir():
        found = sorted(path for path in source.iterdir() if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
        if not found:
            raise UserError(f"Folder {source} holds no audio files (looked for {', '.join(sorted(AUDIO_SUFFIXES))}).")
        return found
    check_audio_file(source)
    return _read_list(source) if _is_list(source) else [source]


def _is_list(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in LIST_SUFFIXES:
        return True
    if suffix in AUDIO_SUFFIXES:
        return False
    with path.open("rb") as stream:
        head = stream.read(4096)
    return b"\0" not in head and all(byte >= 32 or byte in b"\t\n\r\f" for byte in head)


def _read_list(path: Path) -> list[Path]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is neither audio nor a list of audio files (not UTF-8 text).") from error
    found = []
    for number, line in enumerate(lines, start=1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        typed = Path(entry).expanduser()
        candidate = next((place for place in (path.parent / typed, typed) if place.exists()), None)
        if candidate is None:
            raise UserError(f"{path}, line {number}: no such audio file '{entry[:80]}'; correct or remove the line.")
        check_audio_file(candidate)
        found.append(candidate)
    if not found:
        raise UserError(f"List {path} names no audio files.")
    return found


def _frames(container: InputContainer, source: Path) -> Iterator[AudioFrame]:
    """Decoded frames; a few damaged packets are skipped with a warning, many are an error."""
    import av

    stream = container.streams.audio[0]
    packets = bad = 0
    for packet in container.demux(stream):
        packets += 1
        try:
            yield from packet.decode()
        except av.InvalidDataError:
            bad += 1
    if bad > MAX_BAD_SHARE * packets:
        raise UserError(f"{source} is damaged: {bad} of {packets} packets cannot be decoded.")
    if bad:
        LOGGER.warning("%s: %d of %d packets cannot be decoded and were skipped.", source, bad, packets)


def _resample(frames: Iterable[AudioFrame]) -> Iterator[npt.NDArray[np.int16]]:
    """int16 blocks at 16 kHz mono. Streams may change their layout on the way."""
    from av.audio.resampler import AudioResampler

    resampler: AudioResampler | None = None
    layout: tuple[object, ...] = ()
    for frame in frames:
        current = (frame.format.name, frame.layout.name, frame.sample_rate)
        if resampler is None or current != layout:
            if resampler is not None:
                yield from _samples(resampler, None)
            resampler, layout = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE), current
        yield from _samples(resampler, frame)
    if resampler is not None:
        yield from _samples(resampler, None)


def _samples(resampler: AudioResampler, frame: AudioFrame | None) -> Iterator[npt.NDArray[np.int16]]:
    for block in resampler.resample(frame):
        yield cast("npt.NDArray[np.int16]", block.to_ndarray().reshape(-1))


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or error).splitlines()[0]
