"""Score one run or log: what ``alignatt score`` does. Writes scores.json, scores.tsv and segments.json."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import languages
from agent.errors import UserError
from agent.paths import resolve
from agent.run.folder import CONFIG, LOG, SCORES, SCORES_TABLE, SEGMENTS, TRACE, read, write_atomically, write_json
from eval.inputs.checks import check, erasure
from eval.inputs.log import (
    SIMULEVAL,
    SIMULSTREAM,
    RunLog,
    Talk,
    detokenized,
    has_odd_space,
    read_log,
    real_time_factor,
)
from eval.inputs.quotes import Damaged
from eval.inputs.references import DEMO_TALKS, SEGMENTS_NAME, References, load
from eval.scoring import comet
from eval.scoring import omnisteval as omnisteval_run
from eval.scoring.comet import CometScores
from eval.scoring.segments import dump, segments_of
from eval.scoring.signature import group, signature
from eval.scoring.wer import word_error_rate

REGIME_LIMIT_MS = {"low": 2000.0, "high": 4000.0}
"""Upper bound of CU-LongYAAL per regime of the IWSLT simultaneous track, ms."""
SUSPECT_CA_MS = 2000.0
"""CA above CU by this much in a SimulEval log is what sums of computation time look like (OmniSTEval's threshold)."""
LOG_NAMES = (LOG, "instances.log")
"""Names of logs in a folder: simulstream's as we write it, SimulEval's."""


@dataclass(frozen=True)
class Options:
    """What to score against; None means the default said in ``alignatt score --help``."""

    segments: Path | None = None
    references: Path | None = None
    language: str | None = None
    talks: tuple[str, ...] = ()
    offline: Path | None = None
    comet: str = ""
    """COMET model to score with: repository or folder; none when empty."""
    log: Path | None = None
    """Log of another system; its config.yaml, trace.jsonl and manifest.json, where there are any, lie beside it."""
    damaged: Damaged = "refuse"
    cumulative_elapsed: bool = False
    """Elapsed times of a SimulEval log hold all computation since the beginning."""


@dataclass(frozen=True)
class Regime:
    """Verdict on a latency regime; ``met`` is None when the run names none."""

    name: str | None
    limit_ms: float | None
    met: bool | None


@dataclass(frozen=True)
class Quality:
    """BLEU and chrF, 0–100."""

    bleu: float
    chrf: float


@dataclass(frozen=True)
class Scores:
    """Everything known about one run. Latencies are ms, ``wer`` and ``share_of_offline_bleu`` fractions of 1.

    ``erasure``: tokens taken back per token of the final output. ``cu_long_yaal_before_0_1_10_ms``: see
    ``omnisteval_run.yaal_before_0_1_10``. ``log`` is relative to the folder of the scores.
    """

    bleu: float
    chrf: float
    cu_long_yaal_ms: float | None
    ca_long_yaal_ms: float | None
    cu_long_laal_ms: float | None
    ca_long_laal_ms: float | None
    cu_long_yaal_before_0_1_10_ms: float | None
    rtf: float | None
    erasure: float
    wer: float | None
    comet: CometScores | None
    regime: Regime
    offline: Quality | None
    share_of_offline_bleu: float | None
    policy: str | None
    direction: str
    talks: tuple[str, ...]
    audio_s: float
    log: str
    signature: str


@dataclass(frozen=True)
class Run:
    """A run with what it is scored against. ``folder`` takes the scores, the log may lie elsewhere."""

    folder: Path
    config: Mapping[str, Any]
    language: str
    log: RunLog
    talks: tuple[Talk, ...]
    references: References

    @property
    def policy(self) -> str | None:
        """Name of the policy; None for logs of other systems."""
        name = group(self.config, "policy").get("name")
        return str(name) if name is not None else None

    @property
    def signature(self) -> str:
        """See ``eval.scoring.signature``."""
        return signature(self.log, self.references, self.language, self.config)


def score(folder: Path, options: Options) -> tuple[Scores, list[str]]:
    """Score ``folder`` or ``options.log``, write the results into ``folder``, return them with remarks for the user."""
    model = comet.require(options.comet) if options.comet else None
    run = open_run(folder, options)
    latency = run.policy != "offline"
    with tempfile.TemporaryDirectory(prefix="score-") as temporary:
        scored = Path(temporary), run.talks, run.references, run.language
        figures, instances = omnisteval_run.run(*scored, latency=latency)
    tokenizer = languages.get(run.language).bleu_tokenizer
    segments = segments_of(instances, run.references, tokenizer, cu=latency, ca=latency and run.log.timed)
    segments, judged = comet.judge(segments, model) if model else (segments, None)
    offline = offline_quality(run, options)
    if not run.log.timed:
        figures = {key: value for key, value in figures.items() if not key.startswith("ca_")}
    cu_ms = figures.get("long_yaal")
    legacy = latency and run.log.format == SIMULSTREAM
    scores = Scores(
        bleu=figures["bleu"],
        chrf=figures["chrf"],
        cu_long_yaal_ms=cu_ms,
        ca_long_yaal_ms=figures.get("ca_long_yaal"),
        cu_long_laal_ms=figures.get("long_laal"),
        ca_long_laal_ms=figures.get("ca_long_laal"),
        cu_long_yaal_before_0_1_10_ms=omnisteval_run.yaal_before_0_1_10(instances) if legacy else None,
        rtf=real_time_factor(run.log.pick(run.references.talks)) if run.log.format == SIMULSTREAM else None,
        erasure=erasure(run.log.pick(run.references.talks)),
        wer=word_error_rate(run.log.path.parent / TRACE, run.talks, run.references),
        comet=judged,
        regime=verdict(run.config, cu_ms),
        offline=offline,
        share_of_offline_bleu=figures["bleu"] / offline.bleu if offline and offline.bleu else None,
        policy=run.policy,
        direction=f"{run.config.get('source_lang', 'en')}-{run.language}",
        talks=run.references.talks,
        audio_s=sum(talk.audio_s for talk in run.talks),
        log=os.path.relpath(run.log.path, folder),
        signature=run.signature,
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / SEGMENTS, dump(segments, scores.signature))
    write(folder, scores)
    return scores, remarks(run, options, scores)


def remarks(run: Run, options: Options, scores: Scores) -> list[str]:
    """What the user should know besides the figures."""
    found = []
    extra = [] if options.talks else run.log.extra(run.references.talks)
    if extra:
        found.append(f"not scored, since the segmentation does not have them: {', '.join(extra)}")
    odd = [(talk.name, token) for talk in run.talks for token in talk.tokens if has_odd_space(token)]
    if odd:
        name, token = odd[0]
        found.append(
            f"{len(odd)} tokens hold no-break, ideographic or other unusual white space, the first {token!r} in talk "
            f"'{name}': scored as plain spaces"
        )
    cu_ms, ca_ms = scores.cu_long_yaal_ms, scores.ca_long_yaal_ms
    if run.log.format == SIMULEVAL and cu_ms is not None and ca_ms is not None and ca_ms - cu_ms > SUSPECT_CA_MS:
        found.append("CA is far above CU: if elapsed times add up over the recording, score with --cumulative-elapsed")
    return found


def open_run(folder: Path, options: Options) -> Run:
    """Read and check the log, configuration, segmentation and references of a run."""
    path = options.log or find_log(folder)
    config = read(path.parent, CONFIG)
    language = options.language or config.get("target_lang")
    if not isinstance(language, str):
        raise UserError(f"{path.parent} has no {CONFIG} that says target_lang: give --lang.")
    unit = languages.get(language).unit
    if config.get("latency_unit", unit) not in (unit, "spm"):
        raise UserError(
            f"{path.parent / CONFIG} has latency_unit {config['latency_unit']} but {language} is scored by {unit}: "
            "the tokens of the log are of the wrong kind. Run again, or check --lang."
        )
    log = read_log(path, options.cumulative_elapsed)
    joined = config.get("detokenizer_type", "simuleval") != "simuleval" or config.get("latency_unit") == "spm"
    segments, references = locate(options.segments, options.references)
    loaded = load(segments, references, language, options.damaged)
    loaded = loaded.subset(options.talks) if options.talks else loaded
    talks = (detokenized(log, config, unit) if joined else log).pick(loaded.talks)
    check(log, talks, unit)
    return Run(folder, config, language, log, tuple(talks), loaded)


def find_log(folder: Path) -> Path:
    """The log in a folder, ours or SimulEval's."""
    if not folder.is_dir():
        raise UserError(f"No run folder {folder}: give the --output of a simulstream run, or a log file.")
    return next((folder / name for name in LOG_NAMES if (folder / name).is_file()), folder / LOG)


def offline_quality(run: Run, options: Options) -> Quality | None:
    """Quality of the same cascade with the whole talk at hand; None when there is no such run.

    Looked for in ``options.offline``, else in ``offline`` inside or beside the run and in ``<src><tgt>-offline`` beside
    it. A figure scored earlier on the same log and references is taken from its scores.json.
    """
    pair = f"{run.config.get('source_lang', 'en')}{run.language}"
    parent = run.folder.resolve().parent
    places = [options.offline] if options.offline else [run.folder / "offline", parent / "offline"]
    found = next((p for p in [*places, *([] if options.offline else [parent / f"{pair}-offline"])] if p.is_dir()), None)
    if found is None or found.resolve() == run.folder.resolve():
        if options.offline is not None:
            raise UserError(f"No run folder {options.offline} for --offline: give one made with policy.name=offline.")
        return None
    names = dataclasses.replace(options, talks=run.references.talks, language=run.language, log=None)
    other = open_run(found, names)
    if other.policy != "offline":
        raise UserError(f"{found} was made with policy '{other.policy}': run it with --set policy.name=offline.")
    known = read(found, SCORES)
    if known.get("signature") == other.signature:
        return Quality(known["bleu"], known["chrf"])
    own, _ = score(found, dataclasses.replace(names, offline=None, comet=""))
    return Quality(own.bleu, own.chrf)


def verdict(config: Mapping[str, Any], cu_ms: float | None) -> Regime:
    """Whether CU-LongYAAL stays within the regime that the configuration names."""
    name = config.get("regime")
    limit = REGIME_LIMIT_MS.get(str(name))
    if limit is None:
        return Regime(None, None, None)
    return Regime(str(name), limit, None if cu_ms is None else cu_ms <= limit)


def write(folder: Path, scores: Scores) -> None:
    """Write scores.json and scores.tsv, each in one move."""
    tree = dataclasses.asdict(scores)
    rows = ["metric\tvalue", *(f"{key}\t{value}" for key, value in _flat(tree))]
    write_json(folder / SCORES, tree)
    write_atomically(folder / SCORES_TABLE, "\n".join(rows) + "\n")


def locate(segments: Path | None, references: Path | None) -> tuple[Path, Path]:
    """Segmentation and references folder: as given, else next to each other, else the demo talks."""
    folder = references or (segments.parent if segments else resolve(DEMO_TALKS))
    return segments or folder / SEGMENTS_NAME, folder


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Sequence[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple)):
            rows.append((f"{prefix}{key}", ",".join(map(str, value))))
        else:
            rows.append((f"{prefix}{key}", "" if value is None else str(value)))
    return rows
