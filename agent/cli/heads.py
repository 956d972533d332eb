"""``alignatt heads calibrate | show | check`` and ``alignatt probe``."""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli.options import Subparsers, add_command, add_configuration, add_group, configuration, whole
from agent.errors import UserError
from agent.run.manifest import peak_memory_mib

if TYPE_CHECKING:
    from agent.config import AgentConfig
    from heads.calibrate import Calibrated, Subject
    from heads.steps import Steps
    from heads.text import CalibrationText

ALIGN, LOAD = "corpus and its word alignment", "loading the model"
ADMIT, COMPARE, TIME = "architecture and prompt", "rows against the model's own attention", "speed"


def add_parsers(subparsers: Subparsers) -> None:
    """Add the commands."""
    description = "Head sets: which attention heads of a model are read, and what they are worth."
    heads = add_group(subparsers, "heads", "calibrate, show and check head sets", description)
    actions = heads.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    description = "Score every head of a model on parallel text, under the prompt of a configuration, and choose."
    summary = "score a model's heads on parallel text and write a head set"
    calibrate = add_command(actions, "calibrate", run_calibrate, summary, description)
    add_configuration(calibrate)
    add_corpus(calibrate)
    calibrate.add_argument("-o", "--output", type=Path, required=True, metavar="JSON", help="head-set file to write")
    show = add_command(actions, "show", run_show, "print a head set and its layer × head map")
    show.add_argument("head_set", metavar="SET", help="name under agent/head_sets, with its direction, or a JSON file")
    show.add_argument("--rows", type=int, default=10, metavar="N", help="heads listed (default: 10)")
    show.add_argument("--plot", type=Path, metavar="FILE", help="write the map as .png, .svg or .pdf")
    summary = "whether a head set fits the model and prompt of a configuration"
    add_configuration(add_command(actions, "check", run_check, summary))
    description = "Check that a model can be used, calibrate its heads and write a preset for simulstream --config."
    summary = "from a model to a working preset: layout, heads, self-test, YAML"
    probe = add_command(subparsers, "probe", run_probe, summary, description)
    probe.add_argument("model", metavar="MODEL", help="folder or hub id of a decoder-only model")
    add_configuration(probe)
    add_corpus(probe)
    probe.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for head set and preset")


def add_corpus(parser: argparse.ArgumentParser) -> None:
    """Options that name parallel text and its alignments."""
    add = parser.add_argument
    add("--corpus", nargs=2, type=Path, required=True, metavar=("SOURCE", "TARGET"), help="text files, line by line")
    add(
        "--alignments",
        type=Path,
        metavar="FILE",
        help="word alignments of the corpus: Pharaoh i-j lines, or *.json with character spans (default: eflomal)",
    )
    add(
        "--held-out",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="evaluation texts: pairs with one of their sentences are left out (default: the demo talks)",
    )
    add("--max-pairs", type=whole(1), default=400, metavar="N", help="pairs scored (default: 400)")
    add("--context", action="store_true", help="join about half of the pairs with the next line")
    add("--batch", type=whole(1), default=8, metavar="N", help="pairs a forward pass (default: 8)")
    add("--work", type=Path, metavar="DIR", help="folder for rows, to go on after an interruption")


def run_calibrate(args: argparse.Namespace) -> int:
    """Align, score, choose, write."""
    from agent.mt import head_sets, model_check
    from agent.mt.checkpoint import read_config
    from heads.calibrate import STEPS
    from heads.steps import Steps

    config = configuration(args)
    head_sets.check_writable(args.output)
    model_check.refuse(read_config(config.mt), config.mt.model)
    steps = Steps(ALIGN, LOAD, *STEPS)
    prepared, subject = _prepared(args, config, steps)
    done = _calibrated(args, prepared, subject, steps)
    head_sets.save(args.output, done.head_set)
    # Not by a console, which would break commands and file names at the width of the window.
    print(f"Written: {args.output}. Use it with --set mt.head_set={args.output}")
    return 0


def _prepared(args: argparse.Namespace, config: AgentConfig, steps: Steps) -> tuple[CalibrationText, Subject]:
    """The aligned corpus and the loaded model."""
    from rich.console import Console

    from agent.mt import head_sets
    from heads.text import load_subject, prepare

    if args.work:
        head_sets.check_writable(args.work / "signature")
    with steps.wait(ALIGN):
        prepared = prepare(args, config.source_lang, config.target_lang, Console())
    with steps.wait(LOAD):
        return prepared, load_subject(config)


def _calibrated(args: argparse.Namespace, prepared: CalibrationText, subject: Subject, steps: Steps) -> Calibrated:
    """The head set, shown."""
    from rich.console import Console

    from heads import show
    from heads.calibrate import calibrate

    started, console = time.perf_counter(), Console()
    done = calibrate(subject, prepared.pairs, prepared.provenance, args.batch, args.work, announce=steps.begin)
    show.show(done.head_set, 8, console)
    console.print(cost(len(prepared.pairs), time.perf_counter() - started, subject.model))
    return done


def cost(n_pairs: int, seconds: float, model: Any) -> str:
    """Time and peak memory of a calibration, for people who plan a larger one."""
    import torch

    memory = f"{peak_memory_mib():.0f} MiB"
    if model.device.type == "cuda":
        memory += f", {torch.cuda.max_memory_allocated(model.device) / 2**20:.0f} MiB on the GPU"
    return f"{n_pairs} pairs, rows and choice of heads: {seconds:.0f} s; peak memory {memory}."


def run_show(args: argparse.Namespace) -> int:
    """Print, and draw if asked."""
    from rich.console import Console

    from agent.mt import head_sets
    from heads import show

    loaded = head_sets.load(named(args.head_set))
    show.show(loaded, args.rows, Console())
    if args.plot:
        show.draw(loaded, args.plot)
        print(f"Map: {args.plot}")
    return 0


def named(name: str) -> Path:
    """A shipped set by its file name (without .json), or a file."""
    from agent.mt import head_sets

    path = head_sets.SETS / f"{name}.json"
    if path.is_file():
        return path
    if Path(name).is_file():
        return Path(name)
    known = ", ".join(sorted(file.stem for file in head_sets.SETS.glob("*.json")))
    raise UserError(f"No head set '{name}': give a JSON file or one of {known}.")


def run_probe(args: argparse.Namespace) -> int:
    """Refuse or calibrate, test, time, write."""
    from agent.mt import head_sets
    from heads import probe
    from heads.calibrate import STEPS
    from heads.steps import Steps

    steps = Steps(ADMIT, ALIGN, LOAD, COMPARE, *STEPS, TIME)
    steps.begin(ADMIT)
    config = configuration(args)
    config = probe.admit(dataclasses.replace(config, mt=dataclasses.replace(config.mt, model=args.model)))
    head_set_file, preset_file = probe.output_files(args.output, config)
    prepared, subject = _prepared(args, config, steps)
    with steps.wait(COMPARE):
        parity = probe.parity(subject, prepared.pairs[0])
    done = _calibrated(args, prepared, subject, steps)
    with steps.wait(TIME):
        speed = probe.time_per_token_ms(subject, prepared.pairs, config.mt.threads)
    head_sets.save(head_set_file, done.head_set)
    mt = dataclasses.replace(config.mt, head_set=str(head_set_file.resolve()), n_heads=0)
    preset_file.write_text(probe.preset(config, mt), encoding="utf-8")
    print(
        f"layout: source span verified, system turn {config.mt.prompt.system!r}, header {config.mt.prompt.header!r}\n"
        f"rows: largest difference from eager attention {parity.max_difference:.2g}, same peak {parity.same_peak:.1%}\n"
        f"speed: {speed:.1f} ms a drafted token (Transformers, {subject.model.device}, {config.mt.dtype})"
    )
    ts = done.head_set.provenance["mean_row"]["ts_held_out"]
    if ts < probe.USELESS_TS:
        print(f"warning: TS {ts:.2f} is low; this model's attention hardly follows this direction's source.")
    print(f"Written: {head_set_file}, {preset_file}")
    print(f"Use it: simulstream --agent agent.AlignAttAgent --config {preset_file} --source talk.wav")
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Exit code 0 when the set fits; UserError when it does not. Reads no weights."""
    from agent.mt import model_check

    config = configuration(args)
    for line in model_check.check(config.mt, config.source_lang, config.target_lang):
        print(line)
    return 0
