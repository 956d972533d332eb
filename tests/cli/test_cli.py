"""The ``simulstream`` command: the log is simulstream's own, folders are complete or absent, errors are one line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from agent.cli.main import alignatt, simulstream
from agent.paths import PROJECT
from agent.run.folder import CONFIG, LOG, MANIFEST
from agent.run.settings import OUR_AGENT, Options, resolve
from agent.run.watch import StepView, WatchReporter

ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}"}
COMMAND = Path(sys.executable).with_name("simulstream")
ECHO = "echo_agent.EchoAgent"
CHUNK = "speech_chunk_size=0.5"
TALK_S = {"first": 1.75, "second": 1.0}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two talks; the current folder."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 100_000)
    for name, seconds in TALK_S.items():
        soundfile.write(tmp_path / f"{name}.flac", noise[: int(22_050 * seconds)], 22_050)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def echo(*arguments: str) -> int:
    """Run the command in this process with the model-free agent."""
    return simulstream(["--agent", ECHO, "--set", CHUNK, *arguments])


def real(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the installed command."""
    return subprocess.run(
        [str(COMMAND), *arguments],
        cwd=cwd,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def records(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def without_times(log: Path) -> list[dict[str, Any]]:
    skipped = ("computation_time", "model_loading_time", "metadata")
    return [{key: value for key, value in record.items() if key not in skipped} for record in records(log)]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_run_writes_a_complete_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = names(folder)
    assert echo("--source", "first.flac", "second.flac", "--tgt-lang", "de", "--output", "runs/x") == 0
    assert names(folder) == before | {"runs"}
    assert names(folder / "runs") == {"x"}
    assert names(folder / "runs/x") == {LOG, CONFIG, MANIFEST}
    assert (folder / "runs/x").stat().st_mode & 0o500 == 0o500
    written = records(folder / "runs/x" / LOG)
    metadata = [record["metadata"]["wav_name"] for record in written if "metadata" in record]
    assert metadata == [str(folder / "first.flac"), str(folder / "second.flac")]
    assert [record["generated_tokens"] for record in written if record.get("id") == 0 and "generated_tokens" in record][
        -1
    ][-1] == "<de>"
    assert yaml.safe_load((folder / "runs/x" / CONFIG).read_text()) == {"speech_chunk_size": 0.5, "type": ECHO}
    manifest = json.loads((folder / "runs/x" / MANIFEST).read_text())
    assert [source["duration_s"] for source in manifest["sources"]] == list(TALK_S.values())
    assert manifest["versions"]["simulstream"] == "1.0.0"
    assert manifest["machine"]["cores"] >= 1
    assert manifest["started_utc"].endswith("+00:00")
    shown = capsys.readouterr()
    assert "2 talks, 2.8 s of audio" in shown.out
    assert "alignatt score runs/x" in shown.out


def test_the_log_is_simulstreams_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from simulstream.inference import main
    from simulstream.metrics.logger import METRICS_LOGGER

    from agent.run.talks import convert

    assert echo("--source", "first.flac", "second.flac", "--src-lang", "en", "--tgt-lang", "de", "--output", "x") == 0
    (folder / "wav").mkdir()
    wavs = [convert(folder / f"{name}.flac", folder / "wav").wav for name in TALK_S]
    (folder / "list.txt").write_text("\n".join(map(str, wavs)))
    arguments = SimpleNamespace(
        metrics_log_file="theirs.jsonl",
        speech_processor_config="x/config.yaml",
        wav_list_file="list.txt",
        tgt_lang="de",
        src_lang="en",
    )
    monkeypatch.setattr(METRICS_LOGGER, "level", 20)
    main(arguments)
    for handler in list(METRICS_LOGGER.handlers):
        METRICS_LOGGER.removeHandler(handler)
        handler.close()
    assert without_times(folder / "x" / LOG) == without_times(folder / "theirs.jsonl")
    assert len(records(folder / "x" / LOG)) == 1 + 1 + 4 + 1 + 3


def test_a_second_run_replaces_and_never_doubles(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert echo("--source", "second.flac", "--output", "x") == 0
    first = without_times(folder / "x" / LOG)
    assert echo("--source", "second.flac", "--output", "x") == 2
    assert "--force" in capsys.readouterr().err
    (folder / "x" / "scores.json").write_text("{}")
    assert echo("--source", "second.flac", "--output", "x", "--force") == 0
    assert without_times(folder / "x" / LOG) == first
    assert names(folder / "x") == {LOG, CONFIG, MANIFEST}


def test_foreign_folders_are_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.txt").write_text("precious")
    assert echo("--source", "second.flac", "--output", "mine", "--force") == 2
    assert "holds other files" in capsys.readouterr().err
    (folder / "mine" / LOG).write_text("")
    assert echo("--source", "second.flac", "--output", "mine", "--force") == 2
    assert "replaces only whole runs" in capsys.readouterr().err
    assert names(folder / "mine") == {"thesis.txt", LOG}
    (folder / "empty").mkdir()
    assert echo("--source", "second.flac", "--output", "empty") == 0
    assert names(folder / "empty") == {LOG, CONFIG, MANIFEST}


def test_a_failed_run_leaves_nothing(folder: Path) -> None:
    before = names(folder)
    with pytest.raises(RuntimeError, match="the agent broke"):
        echo("--set", "fail_at=2", "--source", "first.flac", "--output", "deep/er/x")
    assert names(folder) == before


def test_an_interrupted_run_keeps_finished_talks_aside(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interrupted = ("--set", "interrupt_at=4", "--output", "x", "--source")
    before = names(folder)
    assert echo(*interrupted, "first.flac", "second.flac") == 130  # in the first talk: nothing worth keeping
    assert names(folder) == before
    for _ in range(2):
        assert echo(*interrupted, "second.flac", "first.flac") == 130
        assert "x.partial" in capsys.readouterr().err
        assert names(folder) == before | {"x.partial"}
        assert names(folder / "x.partial") == {LOG, CONFIG}


def test_watch_shows_accepted_and_held_words(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = names(folder)
    assert echo("--source", "second.flac", "--tgt-lang", "de", "--watch") == 0
    shown = capsys.readouterr().out
    assert re.search(r"0\.50 s  heard 1 → 1:\d \[later\]", shown)
    assert re.search(r"= 1:\d 2:\d <de>", shown)
    assert "Nothing was written" in shown
    assert names(folder) == before


def test_watch_on_a_terminal(folder: Path) -> None:
    from rich.console import Console

    from agent.run.talks import Talk

    console = Console(force_terminal=True, width=60, record=True, file=(folder / "terminal").open("w"))
    reporter = WatchReporter(console)
    with reporter.display:
        reporter.start(Talk(Path("talk.wav"), Path("talk.wav"), 60.0))
        reporter.step(
            StepView(12.5, 2.5, "neu", "alt [neu]", [{"source": ["old", "news"], "held": "später", "stop_reason": "b"}])
        )
        shown = console.export_text(clear=False)
        reporter.end(StepView(60.0, 9.0, "", "alt [neu] später"))
    console.file.close()
    assert "00:12.5 / 01:00.0   RTF 0.20   b" in shown
    assert "old news" in shown
    assert "alt [neu] [später]" in shown
    assert "= alt [neu] später" in console.export_text()


def test_trace_and_effective_configuration_of_our_agent(folder: Path) -> None:
    (folder / "c.yaml").write_text("policy: {margin_words: 3}\ntarget_lang: de\n")
    settings = resolve(
        Options(config=folder / "c.yaml", target_lang="zh", assignments=("policy.margin_words=1", "mt.threads=2"))
    )
    assert (settings.agent, settings.ours, settings.target_lang) == (OUR_AGENT, True, "zh")
    tree = yaml.safe_load(settings.dump())
    assert tree["type"] == OUR_AGENT
    assert tree["latency_unit"] == "char"
    assert tree["policy"]["margin_words"] == 1
    assert tree["mt"]["threads"] == 2
    assert settings.separator == ""


OURS = ["--agent", OUR_AGENT, "--source", "first.flac"]
BAD: list[tuple[list[str], str]] = [
    (["--source", "missing.wav"], "No such file: missing.wav"),
    (["--source", "empty.wav"], "empty.wav is empty"),
    (["--source", "zero.wav"], "holds no audio"),
    (["--source", "text.wav"], "text.wav is not audio"),
    (["--source", "noise.mp3"], "noise.mp3"),
    (["--source", "list.txt"], "list.txt, line 2: no such audio file 'gone.wav'"),
    (["--source", "first.flac", "first.flac"], "Two talks are named 'first'"),
    (["--source", "void"], "holds no audio files"),
    (["--source", "first.flac", "--agent", "nosuchmodule.Agent"], "cannot import 'nosuchmodule'"),
    (["--source", "first.flac", "--agent", "EchoAgent"], "package.module.Class"),
    (["--source", "first.flac", "--agent", "echo_agent.EchoAgnt"], "Did you mean 'EchoAgent'?"),
    (["--source", "first.flac", "--agent", "echo_agent.NotAProcessor"], "not a simulstream SpeechProcessor"),
    (["--source", "first.flac", "--agent", "echo_agent.Unfinished"], "is abstract"),
    (["--source", "first.flac", "--output", "first.flac"], "is a file"),
    (["--source", "first.flac", "--output", "/proc/none/x"], "Cannot write to /proc/none/x"),
    (["--source", "first.flac", "--config", "missing.yaml"], "No configuration file missing.yaml"),
    (["--source", "first.flac", "--config", "broken.yaml"], "broken.yaml is not valid YAML"),
    (["--source", "first.flac", "--config", "list.yaml"], "must hold keys and values"),
    (["--source", "first.flac", "--set", "speech_chunk_size"], "wants key=value"),
    (["--source", "first.flac", "--preset", "ende-low"], "give echo_agent.EchoAgent its own YAML"),
    (["--source", "first.flac"], "--set speech_chunk_size=…"),
    ([*OURS, "--tgt-lang", "fr"], "does not translate en-fr, only en-de, en-it, en-zh"),
    ([*OURS, "--src-lang", "cs"], "does not translate cs-de, only"),
    ([*OURS, "--preset", "ende-lwo"], "Unknown preset 'ende-lwo'"),
    ([*OURS, "--preset", "ende-low", "--config", "good.yaml"], "not both"),
    ([*OURS, "--preset", "ende-low", "--regime", "low"], "--regime"),
    ([*OURS, "--config", "good.yaml", "--set", "policy.margin_word=1"], "Did you mean 'margin_words'?"),
    ([*OURS, "--config", "good.yaml", "--set", "policy.margin_words=two"], "must be a whole number"),
    ([*OURS, "--config", "good.yaml", "--set", "speech_chunk_size=0"], "must be at least 0.02"),
    ([*OURS, "--config", "good.yaml", "--tgt-lang", "xx"], "Unknown language 'xx'"),
    (["--agent", OUR_AGENT, "--config", "good.yaml", "--source", "text.wav"], "text.wav is not audio"),
]


@pytest.fixture
def bad_folder(folder: Path) -> Path:
    """Everything that can be wrong with a file."""
    (folder / "empty.wav").touch()
    soundfile.write(folder / "zero.wav", np.zeros(0), 16_000)
    (folder / "text.wav").write_text("These are words.\n" * 200)
    (folder / "noise.mp3").write_bytes(np.random.default_rng(0).bytes(3000))
    (folder / "list.txt").write_text("first.flac\ngone.wav\n")
    (folder / "void").mkdir()
    (folder / "broken.yaml").write_text("a: [1\n")
    (folder / "list.yaml").write_text("- 1\n")
    (folder / "good.yaml").write_text("target_lang: de\n")
    return folder


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input(arguments: list[str], message: str, bad_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(bad_folder.rglob("*"))
    agent = [] if "--agent" in arguments else ["--agent", ECHO]
    assert simulstream([*agent, "--output", "out", *arguments]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("simulstream: ")
    assert set(bad_folder.rglob("*")) == before


def test_the_installed_command(bad_folder: Path) -> None:
    before = set(bad_folder.rglob("*"))
    for arguments, message in (
        (["--agent", OUR_AGENT, "--config", "good.yaml", "--source", "text.wav", "--output", "x"], "is not audio"),
        (["serve", "--agent", OUR_AGENT, "--tgt-lang", "fr"], "does not translate en-fr"),
    ):
        done = real(*arguments, cwd=bad_folder)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert message in done.stderr
    assert set(bad_folder.rglob("*")) == before
    done = real("--agent", ECHO, "--set", CHUNK, "--source", "first.flac", "--output", "x", cwd=bad_folder)
    assert (done.returncode, done.stderr) == (0, "[1/1] first: 1.8 s, RTF 0.00\n")
    assert len(done.stdout.splitlines()) == 3


def test_bad_input_loads_no_torch(bad_folder: Path) -> None:
    program = (
        "import sys; from agent.cli.main import simulstream; "
        "code = simulstream(['--agent', 'agent.AlignAttAgent', '--config', 'good.yaml', '--source', 'text.wav']); "
        "sys.exit(code + 10 * ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=bad_folder, capture_output=True, check=False)
    assert done.returncode == 2


def test_a_closed_pipe_is_quiet(folder: Path) -> None:
    line = f"'{COMMAND}' --agent {ECHO} --set speech_chunk_size=0.02 --source first.flac --watch | true"
    done = subprocess.run(["sh", "-c", line], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_system_refusals_are_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*values: object) -> None:
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr("agent.run.inference.write_json", full)
    before = names(folder)
    assert echo("--source", "second.flac", "--output", "x") == 2
    assert capsys.readouterr().err.endswith("simulstream: No space left on device: x\n")
    assert names(folder) - before <= {"x.partial"}


def test_without_arguments_there_is_help_and_what_is_unknown_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulstream([]) == 0
    assert "simulstream serve" in capsys.readouterr().out
    for command, arguments in ((simulstream, ["--sorce", "x"]), (alignatt, ["nonsense"])):
        with pytest.raises(SystemExit, match="2"):
            command(arguments)
        assert arguments[0] in capsys.readouterr().err
