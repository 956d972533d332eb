"""``alignatt submission build``: scored runs to a tarball with READMEs, wheel, Dockerfile and checksums."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
import yaml

from agent import __version__
from agent import config as agent_config
from agent.errors import UserError
from agent.paths import PROJECT, resolve
from agent.run.folder import CONFIG, LOG, MANIFEST, SCORES, read, write_json
from agent.run.manifest import sha256
from agent.weights import gpu_shares, named_models
from eval import table
from eval.score import REGIME_LIMIT_MS
from eval.scoring.comet import MODEL as XCOMET_XL
from eval.scoring.signature import fields_of
from eval.submission import contents
from eval.submission.contents import Entry, Submission

HERE = Path(__file__).parent
NOT_PACKED = ("__pycache__", "build", "*.egg-info", "tests")
"""What of a package's folder no wheel is built from."""


def build(
    folders: Sequence[Path], team: str, track: str, contact: str, output: Path, wheels: Sequence[Path] = ()
) -> Path:
    """Pack the runs into ``output``/NAME.tar.gz and return it; UserError when they make no submission.

    ``wheels``: of this package, then of `vllm_rows`; built from the checkout where none are given.
    """
    contents.check_names(team, track, contact)
    regimes = list(REGIME_LIMIT_MS)
    found = [(entry_of(folder), folder) for folder in folders]
    found.sort(key=lambda pair: (pair[0].direction, regimes.index(pair[0].regime)))
    planned = Submission(team, track, contact, (), tuple(entry for entry, _ in found))
    contents.check_complete(planned)
    with tempfile.TemporaryDirectory(prefix="submission-") as scratch:
        root = Path(scratch) / planned.name
        root.mkdir()
        packed = wheels or build_wheels(Path(scratch))
        for wheel in packed:
            shutil.copy(wheel, root / wheel.name)
        submission = Submission(team, track, contact, tuple(wheel.name for wheel in packed), planned.entries)
        configs = {entry.folder: _copy_run(root, entry, folder) for entry, folder in found}
        _write_texts(root, submission, configs)
        (root / contents.DESCRIPTION).write_text(submission.dump(), encoding="utf-8")
        write_sums(root)
        return pack(root, output)


def entry_of(folder: Path) -> Entry:
    """The entry of a scored run; UserError when it is not scored, has changed since, or misses its regime."""
    missing = [name for name in contents.RUN_FILES if not (folder / name).is_file()]
    scores = read(folder, SCORES)
    if missing or not scores:
        raise UserError(
            f"{folder} lacks {', '.join(missing)}: a run of `simulstream --output`, scored by `alignatt score`."
        )
    regime = str(scores["regime"]["name"])
    if fields_of(scores["signature"]).get("log") != sha256(folder / LOG)[:8]:
        raise UserError(f"{folder}/{LOG} has changed since it was scored: alignatt score {folder}")
    if regime not in REGIME_LIMIT_MS:
        raise UserError(f"{folder}/{CONFIG} names no regime: give the key `regime` ({', '.join(REGIME_LIMIT_MS)}).")
    if not scores["regime"]["met"]:
        raise UserError(
            f"{folder} is not in its regime: CU-LongYAAL {scores['cu_long_yaal_ms']:.0f} ms, {regime} ends at "
            f"{REGIME_LIMIT_MS[regime]:.0f} ms."
        )
    kept = ("direction", "bleu", "chrf", "cu_long_yaal_ms", "ca_long_yaal_ms", "signature")
    comet = scores.get("comet") or {}
    xcomet_xl = comet["score"] if str(comet.get("model")).startswith(f"{XCOMET_XL}@") else None
    return Entry(regime=regime, talks=tuple(scores["talks"]), xcomet_xl=xcomet_xl, **{key: scores[key] for key in kept})


def build_wheels(folder: Path) -> list[Path]:
    """Wheels of this checkout and of its `vllm_rows`, built from a copy so that nothing is left in it."""
    if not (PROJECT / "pyproject.toml").is_file():
        raise UserError("This is no checkout that a wheel could be built from: give one with --wheel.")
    source, target = folder / "source", folder / "wheel"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source / name)
    for package in ("agent", "heads", "eval", "demo", "vllm_rows"):
        shutil.copytree(PROJECT / package, source / package, ignore=shutil.ignore_patterns(*NOT_PACKED))
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*command, "-w", str(target), str(source), str(source / "vllm_rows")],
        capture_output=True,
        text=True,
        check=False,
    )
    found = sorted(target.glob("*.whl"))
    if done.returncode or len(found) != 2:
        raise UserError(f"The wheels were not built: {' '.join(done.stderr.split())[-400:]}")
    return found


def write_sums(root: Path) -> None:
    """SHA256SUMS of every other file, as sha256sum reads it."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.name != contents.SUMS)
    lines = [f"{sha256(path)}  {path.relative_to(root).as_posix()}\n" for path in files]
    (root / contents.SUMS).write_text("".join(lines), encoding="utf-8")


def pack(root: Path, output: Path) -> Path:
    """``output``/NAME.tar.gz of the folder ``root``; the same content gives the same bytes."""
    output.mkdir(parents=True, exist_ok=True)
    target = output / f"{root.name}.tar.gz"
    partial = target.with_name(f".{target.name}")

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = ""
        info.mode = 0o755 if info.isdir() else 0o644
        return info

    with (
        partial.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as archive,
    ):
        for path in [root, *sorted(root.rglob("*"))]:
            archive.add(path, path.relative_to(root.parent).as_posix(), recursive=False, filter=plain)
    partial.replace(target)
    return target


def _copy_run(root: Path, entry: Entry, folder: Path) -> dict[str, Any]:
    """Copy a run. Returned: its configuration as the image needs it, without paths of this machine."""
    target = root / entry.folder
    target.mkdir(parents=True)
    shutil.copy(folder / LOG, target / LOG)
    shutil.copy(folder / SCORES, target / SCORES)
    config = _of_the_image(read(folder, CONFIG), root, entry.folder)
    (target / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    write_json(target / MANIFEST, _without_paths(read(folder, MANIFEST)))
    return config


def _of_the_image(tree: dict[str, Any], root: Path, run: str) -> dict[str, Any]:
    """The configuration with models in the wheel, mounted or on the hub; its own files are packed into the run."""
    config = agent_config.from_namespace({**tree, "trace": "", "record_asr": ""})
    found = agent_config.to_dict(config)
    for model in named_models(config):
        folder = resolve(model.model).absolute()
        if folder.is_relative_to(PROJECT / "demo"):
            agent_config.set_key(found, model.key, folder.relative_to(PROJECT).as_posix())
        elif folder.is_dir():
            agent_config.set_key(found, model.key, f"{contents.MOUNTED}/{folder.name}")
    heads = config.mt.head_set.replace("{src}", config.source_lang).replace("{tgt}", config.target_lang)
    for key, name in (("mt.head_set", heads), ("mt.prompt.template", config.mt.prompt.template)):
        file = resolve(name)
        if file.is_file():
            (root / run / file.name).write_bytes(file.read_bytes())
            agent_config.set_key(found, key, f"{contents.INSIDE}/{run}/{file.name}")
    return found


def _without_paths(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_paths(value) for key, value in tree.items() if key not in ("path", "command")}
    return [_without_paths(value) for value in tree] if isinstance(tree, list) else tree


def _write_texts(root: Path, submission: Submission, configs: Mapping[str, Mapping[str, Any]]) -> None:
    models = {run: _models(config) for run, config in configs.items()}
    weights = sorted({name for names in models.values() for name in names if not _in_wheel(name)})
    fast = any(gpu_shares(agent_config.from_namespace(config)) for config in configs.values())
    values = {
        **asdict(submission),
        "name": submission.name,
        "image": submission.name.lower(),
        "version": __version__,
        "runs": [entry.folder for entry in submission.entries],
        "weights": weights,
        "hub": [name for name in weights if not name.startswith("/")],
        "mount": f" -v /path/to/weights:{contents.MOUNTED}:ro" if weights else "",
        "extra": "[gpu]" if fast else "",
        "constraints": contents.CONSTRAINTS,
        "inside": contents.INSIDE,
        "mounted": contents.MOUNTED,
        "port": contents.PORT,
        "number": table.number,
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    shutil.copy(PROJECT / ("constraints-vllm.txt" if fast else "constraints.txt"), root / contents.CONSTRAINTS)
    for name in (contents.README, contents.DOCKERFILE):
        (root / name).write_text(environment.get_template(f"{name}.j2").render(values), encoding="utf-8")
    for direction in submission.directions:
        entries = [entry for entry in submission.entries if entry.direction == direction]
        manifests = {e.regime: read(root / e.folder, MANIFEST) for e in entries}
        described = {"entries": entries, "manifests": manifests, "configs": configs, "models": models}
        own = {**values, **described, "direction": direction}
        text = environment.get_template("direction.md.j2").render(own)
        (root / direction / contents.README).write_text(text, encoding="utf-8")


def _models(config: Mapping[str, Any]) -> list[str]:
    """Models of a run: folders in the wheel, mounted folders, hub ids as `alignatt models download` takes them."""
    models = named_models(agent_config.from_namespace(config))
    pinned = [m.revision and not _in_wheel(m.model) and not m.model.startswith("/") for m in models]
    return [f"{m.model}@{m.revision}" if pin else m.model for m, pin in zip(models, pinned, strict=True)]


def _in_wheel(model: str) -> bool:
    return model.startswith("demo/")
