"""The parts of a check that start something: the image's server command against simulstream's client, and the soak."""

from __future__ import annotations

import difflib
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import soundfile

from agent.errors import UserError
from agent.paths import PROJECT
from agent.run.folder import CONFIG, LOG, read
from agent.run.talks import SAMPLE_RATE, decode
from eval.inputs.log import read_log
from eval.submission import contents
from eval.submission.check import Finding, Package, tried
from eval.submission.contents import Entry

START_S = 600.0
"""Seconds that the server may take to load its models."""
LIKENESS = 0.9
"""Share of the log's text that the server must say again. Engines that batch are not bit-identical from run to run."""


def check_started(package: Package, talks: list[Path], serve_s: float, soak_h: float) -> Iterator[Finding]:
    """Findings of the server (each run, the first ``serve_s`` seconds of a talk) and the soak; 0 leaves one out."""
    entries = package.submission.entries
    for entry in entries if serve_s > 0 else ():
        yield tried(
            f"server {entry.direction} {entry.regime}", partial(check_server, package, entry, talks[0], serve_s)
        )
    if soak_h > 0:
        entry = entries[0]
        yield tried(f"soak {entry.direction} {entry.regime}", partial(check_soak, package, entry, talks, soak_h))


def check_server(package: Package, entry: Entry, talk: Path, seconds: float) -> str:
    """Serve a run with the image's own command, send the beginning of a talk through simulstream's HTTP proxy client,
    and compare with the log. ``seconds``: of audio to send."""
    config = read(package.root / entry.folder, CONFIG)
    size = round(float(config["speech_chunk_size"]) * SAMPLE_RATE)
    samples = (decode(talk) / 32768.0).astype(np.float32)
    n_chunks = max(1, min(int(seconds * SAMPLE_RATE), len(samples)) // size)
    with served(package, entry) as (host, port):
        said = _through_proxy(host, port, [samples[i * size : (i + 1) * size] for i in range(n_chunks)], config)
    end_s = n_chunks * size / SAMPLE_RATE
    steps = next(t for t in read_log(package.root / entry.folder / LOG).talks if t.name == talk.stem).steps
    logged = [t for s in steps if s["total_audio_processed"] <= end_s + 1e-6 for t in s["generated_tokens"]]
    likeness = difflib.SequenceMatcher(None, said, logged, autojunk=False).ratio()
    if not said or likeness < LIKENESS:
        raise UserError(
            f"the server said '{' '.join(said)[:80]}' to the first {end_s:.1f} s of {talk.name}, "
            f"the log has '{' '.join(logged)[:80]}'."
        )
    return f"{len(said)} tokens to {end_s:.1f} s of {talk.name}, {likeness:.0%} like the log"


@contextmanager
def served(package: Package, entry: Entry) -> Iterator[tuple[str, int]]:
    """The server that the Dockerfile's CMD starts, on a free port of this machine; UserError when it does not start."""
    text = (package.root / contents.DOCKERFILE).read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("CMD exec "))
    words = line.removeprefix("CMD exec ").split()
    words[0] = str(Path(sys.executable).with_name("simulstream"))
    words[words.index("--port") + 1] = "0"
    words[words.index("--host") + 1] = "127.0.0.1"
    with tempfile.TemporaryDirectory(prefix="serve-") as scratch, (Path(scratch) / "messages").open("w+") as errors:
        words[words.index("--config") + 1] = str(_local_config(package, entry, Path(scratch)))
        process = subprocess.Popen(words, cwd=PROJECT, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout is not None
        try:
            ready, _, _ = select.select([process.stdout], [], [], START_S)
            found = re.search(r"http://([^/:]+):(\d+)/", process.stdout.readline() if ready else "")
            if not found:
                errors.seek(0)
                raise UserError(f"the server did not start: {' '.join(errors.read().split())[-300:]}")
            yield found[1], int(found[2])
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def check_soak(package: Package, entry: Entry, talks: list[Path], hours: float) -> str:
    """A recording of this length (the dev talks over and over) runs to its end; its last minutes are translated too."""
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        folder = Path(scratch)
        _long_recording(talks, folder / "soak.flac", hours * 3600)
        config = _local_config(package, entry, folder)
        command = [str(Path(sys.executable).with_name("simulstream")), "--config", str(config)]
        command += ["--source", str(folder / "soak.flac"), "--output", str(folder / "run")]
        began = time.monotonic()
        with (folder / "messages").open("w") as messages:
            process = subprocess.Popen(command, cwd=PROJECT, stdout=messages, stderr=messages)
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)  # wait4 tells the memory, but not Popen
        took_s = time.monotonic() - began
        if process.returncode:
            tail = " ".join((folder / "messages").read_text(errors="replace").split())[-300:]
            raise UserError(f"the soak ended with {process.returncode}: {tail}")
        (talk,) = read_log(folder / "run" / LOG).talks
        late = [s for s in talk.steps if s["total_audio_processed"] > 0.9 * talk.audio_s and s["generated_tokens"]]
        if not late or talk.audio_s < hours * 3600 - 1:
            raise UserError(f"the soak fell silent: {talk.audio_s:.0f} s heard, nothing said in its last tenth.")
    peak_mib = usage.ru_maxrss / (1024 if sys.platform == "linux" else 2**20)
    return f"{talk.audio_s / 3600:.2f} h in {took_s:.0f} s, {talk.n_tokens} tokens, {peak_mib:.0f} MiB at most"


def _local_config(package: Package, entry: Entry, folder: Path) -> Path:
    """A copy of a run's configuration that finds the content of the tarball where it is unpacked here."""
    text = (package.root / entry.folder / CONFIG).read_text(encoding="utf-8")
    path = folder / CONFIG
    path.write_text(text.replace(f"{contents.INSIDE}/", f"{package.root}/"), encoding="utf-8")
    return path


def _through_proxy(host: str, port: int, chunks: list[npt.NDArray[np.float32]], config: dict[str, object]) -> list[str]:
    from simulstream.server.speech_processors.remote.http_proxy_speech_processor import HttpProxySpeechProcessor

    proxy = HttpProxySpeechProcessor(SimpleNamespace(hostname=host, port=port))
    proxy.set_source_language(str(config["source_lang"]))
    proxy.set_target_language(str(config["target_lang"]))
    said: list[str] = []
    for chunk in chunks:
        said += proxy.process_chunk(chunk).new_tokens
    proxy.end_of_stream()
    proxy.clear()
    return said


def _long_recording(talks: list[Path], path: Path, seconds: float) -> None:
    """The talks over and over, in blocks: hours of audio are never in memory at once."""
    left = int(seconds * SAMPLE_RATE)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as out:
        while left > 0:
            for talk in talks:
                samples = decode(talk)[:left]
                out.write(samples)
                left -= len(samples)
