"""One inference run: talks in, a folder with simulstream's log, the configuration, a trace and a manifest out.

The log is written by simulstream's own functions, called in the order of ``simulstream_inference``: it is the same
log. Everything is written into a hidden folder beside the output folder, which takes its name once the run is
complete. A run that fails or is interrupted leaves nothing, except when it had finished a talk: then what it has is
kept as ``DIR.partial``.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from agent.errors import UserError
from agent.run import manifest
from agent.run.folder import CONFIG, LOG, MANIFEST, TRACE, OutputFolder, write_json
from agent.run.settings import Settings, build, load_class
from agent.run.talks import SAMPLE_RATE, Talk, convert

if TYPE_CHECKING:
    from agent.run.watch import Reporter, StepView

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """An inference run. Without ``output`` nothing is kept."""

    settings: Settings
    sources: Sequence[Path]
    output: Path | None = None
    force: bool = False
    watch: bool = False
    real_time: bool = False
    """Wait after each step until its audio would have been heard, as a speaker would make us."""
    command: Sequence[str] = ()


@dataclass(frozen=True)
class Result:
    """What a run measured; ``computation_s`` is the sum over the log, without loading the model."""

    n_talks: int
    audio_s: float
    computation_s: float
    model_loading_s: float

    @property
    def rtf(self) -> float:
        """Seconds of computation for one second of audio."""
        return self.computation_s / self.audio_s


def run(request: Request) -> Result:
    """Translate every talk. UserError when an input cannot be used; then nothing is written."""
    started, clock = datetime.now(UTC), time.monotonic()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="simulstream-")))
        if not request.settings.ours:
            load_class(request.settings.agent)
        target = request.output or scratch / "run"
        output = stack.enter_context(OutputFolder(target, request.force))
        (scratch / "wav").mkdir()
        talks = [convert(source, scratch / "wav") for source in request.sources]
        if request.settings.ours:  # imports torch: only after everything else is known to be right
            load_class(request.settings.agent)
        config_text = request.settings.dump()
        (output.folder / CONFIG).write_text(config_text, encoding="utf-8")
        result = _translate(request, talks, output, scratch)
        measured = {
            "started_utc": started.isoformat(timespec="seconds"),
            "wall_s": round(time.monotonic() - clock, 3),
            "audio_s": result.audio_s,
            "computation_s": result.computation_s,
            "model_loading_s": result.model_loading_s,
        }
        described = manifest.describe(request.settings, config_text, talks, request.command, measured)
        write_json(output.folder / MANIFEST, described)
        _copy_trace(request.settings, output.folder)
        output.commit()
    return result


def _translate(request: Request, talks: Sequence[Talk], output: OutputFolder, scratch: Path) -> Result:
    from agent.run.watch import ProgressReporter, WatchReporter

    settings = request.settings
    running = scratch / "running.yaml"
    changes = {"trace": str(output.folder / TRACE)} if settings.ours else {}
    running.write_text(settings.dump(**changes), encoding="utf-8")
    with metrics_log(output.folder / LOG) as log:
        LOGGER.info("Loading %s", settings.agent)
        began = time.time()
        processor = build(settings, running)
        log({"model_loading_time": time.time() - began})
        reporter: Reporter = WatchReporter() if request.watch else ProgressReporter(talks)
        traces: list[Any] = []
        if hasattr(processor, "add_listener"):
            processor.add_listener(traces.append)
        with reporter.display:
            for number, talk in enumerate(talks):
                LOGGER.info("Streaming %s", talk.source)
                loop = _Loop(settings, processor, reporter, traces, request.real_time)
                loop.run(number, talk)
                output.worth_keeping = request.output is not None
    return _measured(output.folder / LOG, talks)


@contextmanager
def metrics_log(path: Path) -> Iterator[Any]:
    """simulstream's metrics log at ``path``; yields a function that writes one record. Closed at the end."""
    from simulstream.metrics.logger import setup_metrics_logger

    with metrics_logger() as logger:
        setup_metrics_logger(SimpleNamespace(enabled=True, filename=str(path)))
        yield lambda record: logger.info(json.dumps(record))


@contextmanager
def metrics_logger() -> Iterator[Any]:
    """simulstream's logger of metrics, enabled; its files, which simulstream leaves open, are closed at the end."""
    from simulstream.metrics.logger import METRICS_LOGGER

    METRICS_LOGGER.disabled = False
    METRICS_LOGGER.setLevel("INFO")  # its level is the root logger's, which a quiet terminal raises
    try:
        yield METRICS_LOGGER
    finally:
        for handler in list(METRICS_LOGGER.handlers):
            METRICS_LOGGER.removeHandler(handler)
            handler.close()


@dataclass
class _Loop:
    """One talk through one speech processor, the way simulstream's ``run_inference`` does it."""

    settings: Settings
    processor: Any
    reporter: Reporter
    traces: list[Any]
    real_time: bool
    tokens: list[str] = field(default_factory=list)
    computation_s: float = 0.0
    began: float = 0.0

    def run(self, number: int, talk: Talk) -> None:
        """Stream the talk."""
        from simulstream.client.wav_reader_client import read_wav_file
        from simulstream.inference import process_audio

        sample_rate, samples = read_wav_file(str(talk.wav))
        metadata: dict[str, Any] = {
            "sample_rate": sample_rate,
            "metrics_metadata": {"wav_name": str(talk.source)},
        }
        if self.settings.target_lang is not None:
            metadata["target_lang"] = self.settings.target_lang
        if self.settings.source_lang is not None:
            metadata["source_lang"] = self.settings.source_lang
        messages = _message_processor(number, self.processor, self)
        self.reporter.start(talk)
        messages.process_metadata(metadata)
        self.began = time.monotonic()
        process_audio(messages, sample_rate, samples)
        self.reporter.end(self.view(messages.end_of_stream(), len(samples) / SAMPLE_RATE))

    def view(self, output: Any, now_s: float) -> StepView:
        """Tell the reporter about a step, and keep the translation so far."""
        from agent.run.watch import StepView

        if output.deleted_tokens:
            del self.tokens[-len(output.deleted_tokens) :]
        self.tokens += output.new_tokens
        target = self.settings.separator.join(self.tokens)
        view = StepView(now_s, self.computation_s, output.new_string, target, tuple(self.traces))
        self.traces.clear()
        self.reporter.step(view)
        if self.real_time:
            time.sleep(max(0.0, self.began + now_s - time.monotonic()))
        return view


def _message_processor(number: int, processor: Any, loop: _Loop) -> Any:
    """simulstream's MessageProcessor that also reports each step to ``loop``."""
    from simulstream.server.message_processor import MessageProcessor

    class Reporting(MessageProcessor):  # type: ignore[misc]
        def process_speech(self, speech_data: bytes) -> Any:
            began = time.monotonic()
            output = super().process_speech(speech_data)
            loop.computation_s += time.monotonic() - began
            if output is not None:
                loop.view(output, self.processed_audio_seconds)
            return output

        def end_of_stream(self) -> Any:
            began = time.monotonic()
            output = super().end_of_stream()
            loop.computation_s += time.monotonic() - began
            return output

    return Reporting(number, processor)


def _measured(log: Path, talks: Sequence[Talk]) -> Result:
    """Sums over the log, after a check that it holds every talk to its end (a full disk loses lines silently)."""
    heard_s = dict.fromkeys(range(len(talks)), 0.0)
    computation_s = loading_s = 0.0
    for line in log.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        loading_s = record.get("model_loading_time", loading_s)
        if "total_audio_processed" in record:
            heard_s[record["id"]] = record["total_audio_processed"]
            computation_s += record["computation_time"]
    for number, talk in enumerate(talks):
        if abs(heard_s[number] - talk.duration_s) > 0.01:
            raise UserError(
                f"The log of '{talk.name}' is incomplete: {heard_s[number]:.2f} of {talk.duration_s:.2f} s."
            )
    audio_s = sum(talk.duration_s for talk in talks)
    return Result(len(talks), audio_s, computation_s, loading_s)


def _copy_trace(settings: Settings, folder: Path) -> None:
    """The trace is always in the output folder; a file named by the key ``trace`` gets a copy."""
    wanted = settings.tree.get("trace") if settings.ours else None
    if wanted and (folder / TRACE).is_file():
        Path(wanted).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / TRACE, wanted)
