"""``simulstream serve`` against simulstream's own clients: two at once, same text as inference, clean stop."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from agent.cli.main import simulstream
from agent.paths import PROJECT
from agent.run.folder import CONFIG, LOG, MANIFEST

COMMAND = Path(sys.executable).with_name("simulstream")
ECHO = ("--agent", "echo_agent.EchoAgent", "--set", "speech_chunk_size=0.5")
START_S = 180
"""The first import of librosa compiles for half a minute on a slow machine."""


@contextmanager
def served(*arguments: str, cwd: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A running server: its address and process. Stopped at the end if it still runs."""
    process = subprocess.Popen(
        [str(COMMAND), "serve", "--port", "0", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # A background job of a shell ignores SIGINT, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], START_S)
        assert ready, "no address within the time allowed"
        found = re.search(r"(?:ws|http)://([^/]+)/", process.stdout.readline())
        assert found
        yield found.group(1), process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
        process.stdout.close()


def write_talks(folder: Path) -> list[str]:
    """Two 16 kHz talks; the WebSocket client's repeated last 100 ms completes no chunk of theirs."""
    noise = np.random.default_rng(0).uniform(-0.9, 0.9, 100_000) * np.linspace(0.1, 1, 100_000)
    for name, samples in (("first", 29_000), ("second", 20_500)):
        soundfile.write(folder / f"{name}.wav", noise[:samples], 16_000, subtype="PCM_16")
    return [str(folder / "first.wav"), str(folder / "second.wav")]


def texts(log: Path) -> dict[str, str]:
    """Translation of each talk, read as simulstream reads it."""
    from simulstream.metrics.readers import LogReader

    reader = LogReader(SimpleNamespace(detokenizer_type="simuleval", latency_unit="word"), str(log))
    return dict(reader.final_outputs())  # an OrderedDict would compare the order in which the talks ended


def until(n_talks: int, log: Path) -> dict[str, str]:
    """The log's talks once ``n_talks`` have ended (the end marker of the test agent)."""
    for _ in range(100):
        if log.read_text().count("<") >= n_talks:
            break
        time.sleep(0.1)
    return texts(log)


def through_http(address: str, wav: str, chunk_s: float, target: str) -> str:
    """What simulstream's HTTP proxy says for a talk."""
    from simulstream.server.speech_processors.remote.http_proxy_speech_processor import HttpProxySpeechProcessor

    host, port = address.split(":")
    proxy = HttpProxySpeechProcessor(SimpleNamespace(hostname=host, port=int(port)))
    proxy.set_target_language(target)
    samples, size = soundfile.read(wav, dtype="float32")[0], int(16_000 * chunk_s)
    tokens = []
    for start in range(0, len(samples), size):
        tokens += proxy.process_chunk(samples[start : start + size]).new_tokens
    tokens += proxy.end_of_stream().new_tokens
    proxy.clear()
    return " ".join(tokens)


@pytest.mark.slow
def test_websocket_two_clients_at_once(tmp_path: Path) -> None:
    from simulstream.client.wav_reader_client import stream_wav_files

    talks = write_talks(tmp_path)
    assert simulstream([*ECHO, "--source", *talks, "--tgt-lang", "de", "--output", str(tmp_path / "run")]) == 0
    expected = texts(tmp_path / "run" / LOG)

    async def clients(uri: str) -> None:
        await asyncio.gather(*(stream_wav_files(uri, [talk], tgt_lang="de") for talk in talks))

    with served(*ECHO, "--pool-size", "2", "--output", "log", cwd=tmp_path) as (address, process):
        asyncio.run(clients(f"ws://{address}/"))
        assert until(2, tmp_path / "log" / LOG) == expected
        assert {path.name for path in (tmp_path / "log").iterdir()} == {LOG, CONFIG, MANIFEST}
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    manifest = json.loads((tmp_path / "log" / MANIFEST).read_text())
    assert manifest["command"][:2] == ["simulstream", "serve"]


@pytest.mark.slow
def test_http_two_clients_at_once(tmp_path: Path) -> None:
    talks = write_talks(tmp_path)
    assert simulstream([*ECHO, "--source", *talks, "--tgt-lang", "it", "--output", str(tmp_path / "run")]) == 0
    expected = texts(tmp_path / "run" / LOG)
    with served(*ECHO, "--protocol", "http", "--pool-size", "2", cwd=tmp_path) as (address, process):
        with ThreadPoolExecutor(2) as pool:
            said = pool.map(lambda talk: through_http(address, talk, 0.5, "it"), talks, timeout=60)
            assert list(said) == [expected["first"], expected["second"]]

        # The proxy is itself a speech processor: our command takes it too, and the log is the client's.
        host, port = address.split(":")
        proxy = "simulstream.server.speech_processors.remote.http_proxy_speech_processor.HttpProxySpeechProcessor"
        options = ["--agent", proxy, "--set", f"hostname={host}", f"port={port}", "--tgt-lang", "it"]
        assert simulstream([*options, "--source", *talks, "--output", str(tmp_path / "remote")]) == 0
        assert texts(tmp_path / "remote" / LOG) == expected
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_what_cannot_be_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for arguments, message in (
            (["--port", str(taken.getsockname()[1])], "Cannot listen on 127.0.0.1"),
            (["--host", "no.such.host.invalid"], "Cannot listen on no.such.host.invalid"),
            (["--protocol", "http", "--output", "x"], "The HTTP server keeps no log"),
            (["--output", "full"], "holds other files"),
            (["--port", "0", "--output", "x", "--agent", "echo_agent.NotAProcessor"], "not a simulstream"),
            (["--preset", "ende-low"], "its own YAML"),
        ):
            assert simulstream(["serve", *ECHO, *arguments]) == 2
            shown = capsys.readouterr()
            assert message in shown.err
            assert shown.err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"full"}


def test_a_server_that_fails_to_load_leaves_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import echo_agent

    def fail(config: SimpleNamespace) -> None:
        raise RuntimeError("no weights")

    monkeypatch.setattr(echo_agent.EchoAgent, "load_model", fail)
    monkeypatch.setattr("agent.run.serve._warm_up_resampler", lambda: None)
    with pytest.raises(RuntimeError, match="no weights"):
        simulstream(["serve", *ECHO, "--port", "0", "--output", str(tmp_path / "log")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_agent_says_the_same_served_as_in_a_run(tmp_path: Path) -> None:
    from agent.cli.main import first_demo_talk
    from agent.run.settings import Options, resolve

    soundfile.write(tmp_path / "talk.wav", soundfile.read(first_demo_talk())[0][: 16_000 * 20], 16_000)
    talk = str(tmp_path / "talk.wav")
    assert simulstream(["--source", talk, "--preset", "ende-low", "--output", str(tmp_path / "run")]) == 0
    expected = texts(tmp_path / "run" / LOG)["talk"]
    assert expected
    chunk_s = float(resolve(Options(preset="ende-low")).tree["speech_chunk_size"])
    preset = ("--preset", "ende-low", "--protocol", "http", "--pool-size", "2")
    with served(*preset, cwd=tmp_path) as (address, _), ThreadPoolExecutor(2) as pool:
        said = pool.map(lambda _: through_http(address, talk, chunk_s, "de"), range(2), timeout=300)
        assert list(said) == [expected, expected]
