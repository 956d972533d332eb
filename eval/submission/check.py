"""``alignatt submission check``: everything a reviewer would look at, each finding with the name of its check."""

from __future__ import annotations

import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath

from agent import config as agent_config
from agent import languages
from agent.errors import UserError
from agent.run.folder import CONFIG, LOG, read
from agent.run.manifest import sha256
from eval.inputs.log import Talk, read_log
from eval.inputs.references import References, load
from eval.score import REGIME_LIMIT_MS, Options, Scores, score
from eval.submission import contents
from eval.submission.contents import Entry, Submission

FIGURE_TOLERANCE = 0.005
"""By how much a claimed figure may differ from the one scored here: half of the last digit that a README shows."""
END_TOLERANCE_S = 0.5
"""How much of a talk's last reference segment a log may lack. Segment ends are rounded, recordings may end earlier."""


@dataclass(frozen=True)
class Finding:
    """Outcome of one check; ``error`` is empty when it passed."""

    check: str
    detail: str
    error: str = ""


@dataclass(frozen=True)
class Package:
    """An unpacked submission, and what it is checked against."""

    root: Path
    submission: Submission
    segments: Path
    references: Path

    def loaded(self, direction: str) -> References:
        """Segmentation and references of a direction."""
        return load(self.segments, self.references, direction.partition("-")[2])


def unpack(tarball: Path, folder: Path) -> Path:
    """The one folder of the tarball, unpacked into ``folder``; UserError for anything but plain files inside it."""
    try:
        with tarfile.open(tarball) as archive:
            members = archive.getmembers()
            for member in members:
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
                    raise UserError(f"{tarball.name} holds '{member.name}', which is no plain file inside its folder.")
            archive.extractall(folder, members, filter="data")
    except (OSError, tarfile.TarError, EOFError) as error:
        raise UserError(f"{tarball} is not a tarball that can be read: {error}") from error
    tops = {PurePosixPath(member.name).parts[0] for member in members}
    if tops != {tarball.name.removesuffix(".tar.gz")}:
        raise UserError(
            f"{tarball.name} must hold one folder of its own name, not {', '.join(sorted(tops)) or 'nothing'}."
        )
    return folder / tops.pop()


def check(root: Path, segments: Path, references: Path) -> Iterator[Finding]:
    """All findings about an unpacked submission, in the order of the checks. Nothing is started."""
    yield tried("checksums", partial(check_sums, root))
    described = tried("description", partial(check_description, root))
    yield described
    if described.error:
        return
    package = Package(root, contents.parse(root / contents.DESCRIPTION), segments, references)
    yield tried("docker", partial(check_docker, package))
    yield tried("readme", partial(check_readmes, package))
    for entry in package.submission.entries:
        for name, one in PER_RUN.items():
            finding = tried(f"{name} {entry.direction} {entry.regime}", partial(one, package, entry))
            yield finding
            if finding.error:
                break


def check_sums(root: Path) -> str:
    """Every file is listed once with its sum."""
    path = root / contents.SUMS
    if not path.is_file():
        raise UserError(f"{contents.SUMS} is missing.")
    listed: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        found = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
        if not found:
            raise UserError(f"{contents.SUMS}, line {number} is not '<sha256>  <file>'.")
        listed[found[2]] = found[1]
    there = {p.relative_to(root).as_posix(): p for p in root.rglob("*") if p.is_file() and p != path}
    for what, names in (("missing", listed.keys() - there.keys()), ("not listed", there.keys() - listed.keys())):
        if names:
            raise UserError(f"{what}: {', '.join(sorted(names))}.")
    wrong = [name for name, file in there.items() if sha256(file) != listed[name]]
    if wrong:
        raise UserError(f"changed since the sums were made: {', '.join(sorted(wrong))}.")
    return f"{len(there)} files"


def check_description(root: Path) -> str:
    """submission.json can be read, is complete, and every run it names is there."""
    submission = contents.parse(root / contents.DESCRIPTION)
    contents.check_names(submission.team, submission.track, submission.contact)
    contents.check_complete(submission)
    if submission.name != root.name:
        raise UserError(f"it describes {submission.name}, the tarball is {root.name}.")
    wanted = [f"{entry.folder}/{name}" for entry in submission.entries for name in contents.RUN_FILES]
    wanted += [f"{direction}/{contents.README}" for direction in submission.directions]
    wanted += [contents.README, contents.DOCKERFILE, contents.CONSTRAINTS, *submission.wheels]
    missing = [name for name in wanted if not (root / name).is_file()]
    if missing:
        raise UserError(f"missing: {', '.join(missing)}.")
    return f"{len(submission.entries)} runs of {', '.join(submission.directions)}"


def check_docker(package: Package) -> str:
    """The Dockerfile has a CUDA base, installs the wheels that are here, and its command serves a run that is here."""
    text = (package.root / contents.DOCKERFILE).read_text(encoding="utf-8")
    wheels = package.submission.wheels
    names = [name for wheel in wheels for name in zipfile.ZipFile(package.root / wheel).namelist()]
    absent = [name for name in ("agent/agent.py", "agent/mt/head_sets.py", "vllm_rows/plugin.py") if name not in names]
    if absent:
        raise UserError(f"The wheels {', '.join(wheels)} lack {', '.join(absent)}: they are not those of this package.")
    for what, pattern in {
        "a CUDA base image (FROM nvidia/cuda:…)": r"^FROM nvidia/cuda:\S+",
        **{f"the installation of {wheel}": rf"pip install .*{re.escape(wheel)}" for wheel in wheels},
        "simulstream's HTTP server (CMD)": r"^CMD exec \S*simulstream serve --protocol http .*--config \S+\$RUN/",
    }.items():
        if not re.search(pattern, text, re.MULTILINE):
            raise UserError(f"{contents.DOCKERFILE} lacks {what}.")
    run = re.search(r"^ENV RUN=(\S+)", text, re.MULTILINE)
    folders = [entry.folder for entry in package.submission.entries]
    if not run or run[1] not in folders:
        raise UserError(f"{contents.DOCKERFILE}: RUN must be one of {', '.join(folders)}.")
    return ", ".join(wheels)


def check_readmes(package: Package) -> str:
    """Every README has the contact, and every direction's has the figures of its runs."""
    for direction in ("", *package.submission.directions):
        name = f"{direction}/{contents.README}".lstrip("/")
        text = (package.root / name).read_text(encoding="utf-8")
        wanted = {"the contact": package.submission.contact, "the track": package.submission.track}
        for entry in package.submission.entries:
            if entry.direction == direction:
                wanted[f"BLEU of {entry.regime}"] = f"BLEU {entry.bleu:.2f}"
                wanted[f"CU-LongYAAL of {entry.regime}"] = f"CU-LongYAAL {entry.cu_long_yaal_ms:.0f} ms"
                wanted[f"the signature of {entry.regime}"] = entry.signature
        lacking = [what for what, value in wanted.items() if value not in text]
        if lacking:
            raise UserError(f"{name} lacks {', '.join(lacking)}.")
    return f"{1 + len(package.submission.directions)} files"


def check_config(package: Package, entry: Entry) -> str:
    """The configuration is valid, of this direction and regime, and names no path of the machine it was made on."""
    config = read(package.root / entry.folder, CONFIG)
    source, _, target = entry.direction.partition("-")
    settings = agent_config.from_namespace(config)
    for key, has, wants in (
        ("source_lang", settings.source_lang, source),
        ("target_lang", settings.target_lang, target),
        ("regime", settings.regime, entry.regime),
        ("latency_unit", config.get("latency_unit"), settings.latency_unit),
    ):
        if has != wants:
            raise UserError(f"{entry.folder}/{CONFIG} has {key} {has}, {wants} is wanted.")
    if settings.recogniser_name == "replay":
        raise UserError(f"{entry.folder}/{CONFIG}: recorded recognition is replayed, which serves nobody.")
    inside = (contents.MOUNTED, contents.INSIDE)
    for key, value in _texts(config):
        if value.startswith("/") and not value.startswith(inside):
            raise UserError(f"{entry.folder}/{CONFIG}: {key} is {value}, which no image has.")
    return settings.policy_name


def check_log(package: Package, entry: Entry) -> str:
    """The log is simulstream's, holds every talk of the dev set once, in order and to its end."""
    log = read_log(package.root / entry.folder / LOG)
    if log.format != "simulstream":
        raise UserError(f"{entry.folder}/{LOG} is a log of {log.format}, not of simulstream.")
    references = package.loaded(entry.direction)
    for talk in log.pick(references.talks):
        _check_talk(talk, references.of_talk(talk.name), languages.get(entry.direction.partition("-")[2]).unit)
    extra = log.extra(references.talks)
    if extra:
        raise UserError(f"talks that the dev set does not have: {', '.join(extra)}.")
    return f"{len(log.talks)} talks"


def check_figures(package: Package, entry: Entry) -> str:
    """Scored here again, the run is in its regime and has the figures that are claimed."""
    folder = package.root / entry.folder
    options = Options(segments=package.segments, references=package.references)
    scores, _ = score(folder, options)
    limit_ms, cu_ms = REGIME_LIMIT_MS[entry.regime], scores.cu_long_yaal_ms
    if cu_ms is None or cu_ms > limit_ms:
        raise UserError(
            f"regime missed: CU-LongYAAL {cu_ms or float('nan'):.0f} ms, {entry.regime} ends at {limit_ms:.0f}."
        )
    _compare(entry, scores)
    return f"BLEU {scores.bleu:.2f}, CU-LongYAAL {cu_ms:.0f} ms"


PER_RUN: dict[str, Callable[[Package, Entry], str]] = {
    "config": check_config,
    "log": check_log,
    "figures": check_figures,
}
"""Checks of one run; those after a failed one make no sense and are left out."""


def _compare(entry: Entry, scores: Scores) -> None:
    for key, scale in (("bleu", 1.0), ("chrf", 1.0), ("cu_long_yaal_ms", 100.0)):
        claimed, measured = getattr(entry, key), getattr(scores, key)
        if abs(claimed - measured) > FIGURE_TOLERANCE * scale:
            raise UserError(f"{key} is claimed as {claimed:.3f}, scored here it is {measured:.3f}.")
    if set(entry.talks) != set(scores.talks):
        raise UserError(f"the claimed figures are of {len(entry.talks)} talks, the dev set has {len(scores.talks)}.")


def _check_talk(talk: Talk, references: References, unit: str) -> None:
    times = [float(step["total_audio_processed"]) for step in talk.steps]
    if any(after <= before for before, after in pairwise(times)):
        raise UserError(f"'{talk.name}': the steps are not in the order of the audio, or one is doubled.")
    end_s = max(float(s["offset"]) + float(s["duration"]) for s in references.segments)
    if times[-1] < end_s - END_TOLERANCE_S:
        raise UserError(
            f"'{talk.name}' ends at {times[-1]:.1f} s, its last segment at {end_s:.1f} s: the log is cut off."
        )
    for step in talk.steps:
        at = f"'{talk.name}' at {step['total_audio_processed']} s"
        for token in step["generated_tokens"]:
            if len(token.split()) > 1 or any(space in token for space in "\n\u00a0\u3000"):
                raise UserError(f"{at}: token {token!r} holds a space.")
            if unit == "char" and len(token) > 1:
                raise UserError(f"{at}: token {token!r} is no single character.")


def _texts(tree: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _texts(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(tree, str):
        yield prefix, tree


def tried(name: str, run: Callable[[], str]) -> Finding:
    """Make one check; what it says about why it failed is one line."""
    try:
        return Finding(name, run())
    except (UserError, RuntimeError, zipfile.BadZipFile) as error:
        return Finding(name, "", " ".join(str(error).split()))
