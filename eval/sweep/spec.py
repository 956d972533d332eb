"""The specification of a sweep and the jobs it stands for.

```yaml
output: out/sweep             # or --output
directions: [en-de, en-it]
talks:                        # settings are chosen on the first set, and reported on all
  dev: {audio: [out/dev/dev-talk-1.flac], references: out/dev}
  test: {audio: [demo/talks/demo-talk-1.flac], references: demo/talks}
set: {mt.max_draft_tokens: 10}          # keys of every cell
grid: {speech_chunk_size: [0.5, 1.0]}   # crossed with every policy's own grid
policies:
  alignatt: {policy.margin_words: [1, 2, 3], session.hold_back_s: [0, 0.3]}
  wait-k: [{policy.k: 2}, {policy.k: 4}]   # a list of settings instead of a grid
  offline: {}
```
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from agent import config as agent_config
from agent.errors import UserError, nearest
from agent.languages import UNITS_PER_ENGLISH_WORD
from agent.run.manifest import sha256
from agent.run.talks import find_talks
from eval.inputs.references import SEGMENTS_NAME

KEYS = ("output", "directions", "talks", "set", "grid", "policies")


@dataclass(frozen=True)
class TalkSet:
    """Named talks with their references. ``audio``: SHA-256 by path; ``digest`` covers it and all reference files."""

    name: str
    audio: dict[str, str]
    references: str
    digest: str


@dataclass(frozen=True)
class Job:
    """One unit of work. ``kind``: ``record`` makes the recording of one talk, ``cell`` translates and scores.

    ``tree``: the whole configuration; ``keys``: what the sweep set, for tables; ``recordings``: their names by talk.
    """

    id: str
    kind: str
    direction: str
    talks: TalkSet
    policy: str
    keys: dict[str, Any]
    tree: dict[str, Any]
    recordings: dict[str, str]

    @property
    def name(self) -> str:
        """``margin_words=2 chunk=0.5``."""
        short = {"speech_chunk_size": "chunk"}
        return " ".join(f"{short.get(key, key.rpartition('.')[2])}={value}" for key, value in self.keys.items()) or "–"


@dataclass(frozen=True)
class Sweep:
    """Everything to be done: recordings first, then cells."""

    output: Path
    sets: tuple[TalkSet, ...]
    records: tuple[Job, ...]
    cells: tuple[Job, ...]


def read_spec(path: Path, output: Path | None) -> Sweep:
    """The jobs of a specification file; UserError for anything in it that cannot be used."""
    if not path.is_file():
        raise UserError(f"No specification {path}: give an existing YAML file.")
    try:
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(spec, dict):
        raise UserError(f"{path} must hold keys and values: {', '.join(KEYS)}.")
    for key in spec:
        if key not in KEYS:
            raise UserError(f"{path}: unknown key '{key}'.{nearest(str(key), KEYS)}")
    missing = [key for key in ("directions", "talks", "policies") if not spec.get(key)]
    if missing:
        raise UserError(f"{path}: {', '.join(missing)} missing.")
    target = output or (Path(spec["output"]) if spec.get("output") else None)
    if target is None:
        raise UserError(f"{path} names no output folder: add `output: FOLDER`, or give --output.")
    sets = tuple(_talk_set(path, name, entry) for name, entry in _mapping(path, "talks", spec["talks"]).items())
    records: dict[str, Job] = {}
    cells: dict[str, Job] = {}
    for direction, talks in itertools.product(_list(path, "directions", spec["directions"]), sets):
        for policy, keys in settings(path, spec):
            cell = cell_job(str(direction), talks, policy, keys, spec.get("set") or {}, path)
            cells.setdefault(cell.id, cell)
            records |= {job.id: job for job in record_jobs(cell) if job.id not in records}
    return Sweep(target.expanduser().resolve(), sets, tuple(records.values()), tuple(cells.values()))


def settings(path: Path, spec: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each policy with each combination of its own settings and the common grid; ``offline`` with the first of those.

    A policy's own settings are a grid (keys with lists) or a list of settings (keys with values).
    """
    common = _combinations(path, "grid", spec.get("grid") or {})
    for policy, own in _mapping(path, "policies", spec["policies"]).items():
        where = f"policies.{policy}"
        if isinstance(own, list) and own:
            listed = [_mapping(path, where, setting) for setting in own]
        else:
            listed = _combinations(path, where, own or {})
        for keys in listed[:1] if policy == "offline" else listed:
            for shared in common[:1] if policy == "offline" else common:
                yield str(policy), {**shared, **keys}


def cell_job(
    direction: str, talks: TalkSet, policy: str, keys: dict[str, Any], common: Mapping[str, Any], path: Path
) -> Job:
    """The cell of one setting; UserError when the configuration is not a valid one."""
    source, dash, target = direction.partition("-")
    if not dash:
        raise UserError(f"{path}: a direction is <source>-<target>, not '{direction}'.")
    tree: dict[str, Any] = {"source_lang": source, "target_lang": target}
    per_word = {"policy.units_per_word": UNITS_PER_ENGLISH_WORD.get(target, 1.0)} if policy == "wait-k" else {}
    for key, value in {**per_word, **common, **keys, "policy.name": policy}.items():
        agent_config.set_key(tree, str(key), value)
    full = agent_config.to_dict(agent_config.from_namespace(tree))
    recordings = {}
    for audio, digest in talks.audio.items():
        heard = {"asr": full["asr"], "chunk_s": full["speech_chunk_size"], "source": source, "audio": digest}
        recordings[Path(audio).stem] = f"{Path(audio).stem}-{full['speech_chunk_size']}-{_hash(heard)}"
    cell_id = f"{direction}-{talks.name}-{policy.replace(':', '-')}-{_hash({'config': full, 'talks': talks.digest})}"
    return Job(cell_id, "cell", direction, talks, policy, keys, full, recordings)


def record_jobs(cell: Job) -> list[Job]:
    """The recordings that a cell needs, one job a talk."""
    found = []
    for audio, digest in cell.talks.audio.items():
        name = cell.recordings[Path(audio).stem]
        talks = replace(cell.talks, audio={audio: digest})
        found.append(replace(cell, id=name, kind="record", talks=talks, policy="", keys={}))
    return found


def parse(tree: Mapping[str, Any]) -> Job:
    """A job from its plain data."""
    return Job(**{**tree, "talks": TalkSet(**tree["talks"])})


def _talk_set(path: Path, name: str, entry: Any) -> TalkSet:
    if not isinstance(entry, dict) or not {"audio", "references"} <= entry.keys():
        raise UserError(f"{path}: talks.{name} wants audio (files) and references (a folder).")
    audio = find_talks([str(value) for value in _list(path, "audio", entry["audio"])])
    references = Path(entry["references"]).expanduser().resolve()
    if not (references / SEGMENTS_NAME).is_file():
        raise UserError(f"{path}: talks.{name}.references: {references} holds no {SEGMENTS_NAME}.")
    digests = {str(file.resolve()): sha256(file) for file in audio}
    texts = [sha256(file) for file in (references / SEGMENTS_NAME, *sorted(references.glob("ref.*.txt")))]
    digest = hashlib.sha256("".join([*digests.values(), *texts]).encode()).hexdigest()
    return TalkSet(str(name), digests, str(references), digest)


def _combinations(path: Path, key: str, grid: Any) -> list[dict[str, Any]]:
    """Every combination of the values of a grid; one empty one for an empty grid."""
    lists = {name: _list(path, f"{key}.{name}", values) for name, values in _mapping(path, key, grid).items()}
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def _hash(tree: Any) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:10]


def _mapping(path: Path, key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{path}: {key} must hold keys and values, not {value!r}.")
    return value


def _list(path: Path, key: str, value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise UserError(f"{path}: {key} must be a list, not {value!r}.")
    return value
