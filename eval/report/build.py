"""From gathered runs to files: the page, and each plot as SVG and PNG beside it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import soundfile
from markupsafe import Markup
from tqdm import tqdm

import agent
from agent.errors import UserError
from agent.run.folder import write_atomically
from agent.run.talks import SAMPLE_RATE, decode
from eval import table
from eval.compare import p_text
from eval.report import data, plots
from eval.report.data import Group, Run
from eval.report.plots import Plot
from eval.score import REGIME_LIMIT_MS
from eval.scoring.signature import group as config_group

HERE = Path(__file__).parent
LONGEST_AUDIO_S = 3600.0
"""Audio beyond this is left out unless asked for: an hour is 14 MB, 19 MB inside the page."""


@dataclass(frozen=True)
class Options:
    """``audio``: None embeds up to LONGEST_AUDIO_S, True all, False none. ``audio_folder``: where talks are looked for
    that the manifest does not lead to."""

    title: str = ""
    audio: bool | None = None
    audio_folder: Path | None = None


def report(folders: Sequence[Path], output: Path, options: Options) -> tuple[list[Path], list[str]]:
    """Write the page and its plots; their paths and remarks. UserError when a run cannot be reported."""
    if output.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--output {output}: a file that ends in .html is wanted.")
    groups = data.gather(folders)
    directions = [group.direction for group in groups]
    names = [f"{d}-{i}" if directions.count(d) > 1 else d for i, d in enumerate(directions, start=1)]
    drawn = [draw(group, name) for group, name in zip(groups, names, strict=True)]
    sounds, remarks = embed_audio([run for group in groups for run in group.runs], options)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"num": table.number, "p": p_text, "script": script}
    page = environment.get_template("page.html").render(
        title=options.title or "Simultaneous translation: " + ", ".join(group.direction for group in groups),
        version=agent.__version__,
        css=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        js=Markup("\n".join((HERE / name).read_text(encoding="utf-8") for name in ("page.js", "replay.js"))),
        groups=groups,
        plots=drawn,
        limits_s={name: limit / 1000 for name, limit in REGIME_LIMIT_MS.items()},
        anchors=data.read_anchors(),
        sounds=sounds,
        data=data,
        index={run.name: i for i, run in enumerate(run for group in groups for run in group.runs)},
        run_trees=[run_tree(run, sounds) for group in groups for run in group.runs],
    )
    files = [output]
    output.parent.mkdir(parents=True, exist_ok=True)
    for plot in (plot for found in drawn for plot in found):
        for suffix, content in ((".svg", plot.svg), (".png", plot.png)):
            path = output.with_name(f"{output.stem}-{plot.name}{suffix}")
            path.write_bytes(content)
            files.append(path)
    write_atomically(output, page)
    return files, remarks


def draw(group: Group, name: str) -> list[Plot]:
    """The group's plots, whose names begin with ``name``; those without any data are left out."""
    offline = next((run.scores["offline"] for run in group.runs if run.scores.get("offline")), None)
    found = []
    for metric, label in (("bleu", "BLEU"), ("chrf", "chrF")):
        points = data.points(group, metric)
        if points:
            found.append(plots.quality_latency(f"{name}-{metric}", label, points, offline[metric] if offline else None))
    points = data.points(group, "bleu")
    if any(point.ca_s is not None for point in points):
        found.append(plots.computation(f"{name}-computation", points))
    budgets = {run.name: run.budget for run in group.runs if run.budget is not None}
    if budgets:
        found.append(plots.budgets(f"{name}-budget", budgets))
    return found


def embed_audio(runs: Sequence[Run], options: Options) -> tuple[dict[str, str], list[str]]:
    """Base64 MP3 of each talk by its name, and remarks about those that are not there."""
    if options.audio is False:
        return {}, []
    wanted: dict[str, tuple[Path | None, float]] = {}
    for run in runs:
        known = {str(source.get("name")): Path(str(source.get("path"))) for source in run.manifest.get("sources", [])}
        for replay in run.replays:
            path = known.get(replay.name)
            if options.audio_folder and not (path and path.is_file()):
                path = next(iter(sorted(options.audio_folder.glob(f"{replay.name}.*"))), None)
            if replay.name not in wanted or wanted[replay.name][0] is None:
                wanted[replay.name] = (path if path and path.is_file() else None, replay.duration_s)
    total_s = sum(duration_s for path, duration_s in wanted.values() if path)
    if total_s > LONGEST_AUDIO_S and options.audio is None:
        return {}, [f"{total_s / 3600:.1f} hours of audio are left out of the page: --audio puts them in"]
    missing = [name for name, (path, _) in wanted.items() if path is None]
    remarks = [f"no audio found for {', '.join(missing)}: name its folder with --audio-folder"] if missing else []
    present = {name: path for name, (path, _) in wanted.items() if path}
    progress = tqdm(present.items(), "audio", unit="talk", leave=False, disable=None)
    return {name: base64.b64encode(mp3(path)).decode() for name, path in progress}, remarks


def mp3(path: Path) -> bytes:
    """The file as mono MP3 of 32 kbit/s, which every browser plays; UserError when it cannot be decoded."""
    sound = io.BytesIO()
    soundfile.write(sound, decode(path), SAMPLE_RATE, format="MP3", bitrate_mode="CONSTANT", compression_level=0.84)
    return sound.getvalue()


def run_tree(run: Run, sounds: Mapping[str, str]) -> dict[str, Any]:
    """What the viewer needs of a run."""
    return {
        "name": run.name,
        "direction": run.scores["direction"],
        "margin": config_group(run.config, "policy").get("margin_words"),
        "policy": run.scores.get("policy"),
        "talks": [{**replay.tree(), "audio": replay.name in sounds} for replay in run.replays],
    }


def script(tree: Any) -> Markup:
    """JSON that may stand inside a script element."""
    text = json.dumps(tree, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))
