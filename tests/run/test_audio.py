"""Any file, rate and channel count becomes 16 kHz mono PCM16; anything else is one line that says why not."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from av.audio.frame import AudioFrame

from agent.errors import UserError
from agent.run.talks import SAMPLE_RATE, convert, decode, find_talks

SECONDS = 2.0
CODECS = {"mp3": "libmp3lame", "mp4": "aac", "ogg": "libopus", "mkv": "flac"}


def tone(rate: int, seconds: float = SECONDS) -> npt.NDArray[np.float32]:
    """float32[n]: 440 Hz, swelling, so that time shifts and gain show."""
    time = np.arange(int(rate * seconds)) / rate
    wave_ = 0.5 * np.sin(2 * np.pi * 440 * time) * np.sin(np.pi * time / seconds)
    return wave_.astype(np.float32)


def encode(path: Path, rate: int, channels: int) -> None:
    """Write the tone with FFmpeg, the codec chosen by the suffix."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(CODECS[path.suffix[1:]], rate=rate)
        stream.layout = "mono" if channels == 1 else "stereo"
        samples = np.repeat(tone(rate)[None, :], channels, axis=0)
        planar = "fltp" if path.suffix != ".ogg" else "flt"
        data = samples if planar == "fltp" else np.ascontiguousarray(samples.T.reshape(1, -1))
        frame = AudioFrame.from_ndarray(data, format=planar, layout=stream.layout.name)
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def check_tone(samples: npt.NDArray[np.int16], slack_s: float) -> None:
    assert samples.dtype == np.int16
    assert abs(len(samples) / SAMPLE_RATE - SECONDS) <= slack_s
    expected = tone(SAMPLE_RATE)
    n = min(len(samples), len(expected))
    heard = samples[:n].astype(np.float32) / 2**15
    # Codecs may shift by their delay: the best correlation over shifts must be close to 1.
    spectrum = np.fft.rfft(heard, 2 * n).conj() * np.fft.rfft(expected[:n], 2 * n)
    correlation = np.fft.irfft(spectrum).max() / (np.linalg.norm(heard) * np.linalg.norm(expected[:n]))
    assert correlation > 0.98
    assert abs(np.abs(heard).max() - 0.5) < 0.05


@pytest.mark.parametrize(
    ("name", "rate", "channels", "subtype"),
    [
        ("a.wav", 44_100, 2, "PCM_16"),
        ("a.wav", 16_000, 1, "PCM_24"),
        ("a.wav", 8_000, 1, "FLOAT"),
        ("a.wav", 48_000, 6, "PCM_16"),
        ("a.flac", 44_100, 2, "PCM_16"),
        ("a.flac", 96_000, 1, "PCM_24"),
        ("a.ogg", 44_100, 2, "VORBIS"),
    ],
)
def test_soundfile_formats(tmp_path: Path, name: str, rate: int, channels: int, subtype: str) -> None:
    path = tmp_path / name
    samples = np.repeat(tone(rate)[:, None], channels, axis=1)
    soundfile.write(path, samples, rate, subtype=subtype)
    check_tone(decode(path), slack_s=0.01)


@pytest.mark.parametrize(
    ("name", "rate", "channels"),
    [("a.mp3", 44_100, 2), ("a.mp4", 48_000, 2), ("a.mp4", 22_050, 1), ("a.ogg", 48_000, 1)],
)
def test_ffmpeg_formats(tmp_path: Path, name: str, rate: int, channels: int) -> None:
    path = tmp_path / name
    encode(path, rate, channels)
    check_tone(decode(path), slack_s=0.1)


def test_what_is_right_already_is_not_touched(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, 12_345, dtype=np.int16)
    soundfile.write(tmp_path / "talk.wav", samples, SAMPLE_RATE, subtype="PCM_16")
    assert np.array_equal(decode(tmp_path / "talk.wav"), samples)
    (tmp_path / "out").mkdir()
    talk = convert(tmp_path / "talk.wav", tmp_path / "out")
    assert talk.name == "talk"
    assert talk.duration_s == 12_345 / SAMPLE_RATE
    with wave.open(str(talk.wav)) as stream:
        assert (stream.getframerate(), stream.getnchannels(), stream.getsampwidth()) == (SAMPLE_RATE, 1, 2)
        assert stream.readframes(20_000) == samples.tobytes()


def test_truncated_file_is_used_or_refused_but_never_a_traceback(tmp_path: Path) -> None:
    encode(tmp_path / "a.mp3", 44_100, 2)
    data = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "half.mp3").write_bytes(data[: len(data) // 2])
    assert 0.5 < len(decode(tmp_path / "half.mp3")) / SAMPLE_RATE < 1.5
    encode(tmp_path / "a.mp4", 44_100, 2)
    (tmp_path / "half.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:2000])
    with pytest.raises(UserError, match=r"half\.mp4"):
        decode(tmp_path / "half.mp4")


def test_no_audio(tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    for content, message in (
        (b"", "empty"),
        (b"These are words, not sound.\n" * 50, "not audio"),
        (np.random.default_rng(1).bytes(5000), "not audio|damaged|no audio"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "not audio|no audio"),
    ):
        bad.write_bytes(content)
        with pytest.raises(UserError, match=message):
            decode(bad)
    with pytest.raises(UserError, match="No such file"):
        decode(tmp_path / "missing.wav")
    soundfile.write(tmp_path / "zero.wav", np.zeros(0, dtype=np.int16), SAMPLE_RATE)
    with pytest.raises(UserError, match="no audio"):
        decode(tmp_path / "zero.wav")


def test_video_without_sound(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "mute.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), dtype=np.uint8), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    with pytest.raises(UserError, match="no audio stream"):
        decode(tmp_path / "mute.mp4")


def test_lists_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "talks").mkdir()
    for name in ("b.wav", "a.flac"):
        soundfile.write(tmp_path / "talks" / name, tone(8000), 8000)
    (tmp_path / "talks" / "notes.md").write_text("not audio")
    assert [path.name for path in find_talks([tmp_path / "talks"])] == ["a.flac", "b.wav"]

    listed = tmp_path / "talks" / "list.txt"
    listed.write_text("# my talks\n\nb.wav\n  a.flac  \n")
    assert [path.name for path in find_talks([listed])] == ["b.wav", "a.flac"]
    monkeypatch.chdir(tmp_path)
    Path("elsewhere.txt").write_text("talks/b.wav\n")
    assert [path.name for path in find_talks(["elsewhere.txt", "talks/a.flac"])] == ["b.wav", "a.flac"]
    Path("nosuffix").write_text("talks/b.wav\n")
    assert [path.name for path in find_talks(["nosuffix"])] == ["b.wav"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gone.wav\n", "line 1: no such audio file 'gone.wav'"),
        ("# nothing\n\n", "names no audio files"),
        ("a.wav\nempty.wav\n", "empty"),
        ("a.wav\nsub/a.wav\n", "Two talks are named 'a'"),
    ],
)
def test_bad_lists(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.wav", "sub/a.wav"):
        soundfile.write(tmp_path / name, tone(8000), 8000)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        find_talks([tmp_path / "list.txt"])
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="holds no audio files"):
        find_talks([tmp_path / "none"])
