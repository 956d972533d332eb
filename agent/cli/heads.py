"""``alignatt heads calibrate | show | check`` and ``alignatt probe``."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.errors import UserError

if TYPE_CHECKING:
    from agent.config import AgentConfig


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands; each sets ``run``, a callable from the parsed arguments to the exit code."""
    heads = subparsers.add_parser("heads", help="calibrate, show and check head sets", description=__doc__)
    actions = heads.add_subparsers(dest="action", metavar="ACTION", required=True)
    calibrate = actions.add_parser(
        "calibrate",
        help="score a model's heads on parallel text and write a head set",
        description="Score every head of a model on parallel text, under the prompt of a configuration, and choose.",
        allow_abbrev=False,
    )
    add_configuration(calibrate)
    add_corpus(calibrate)
    calibrate.add_argument("-o", "--output", type=Path, required=True, metavar="JSON", help="head-set file to write")
    calibrate.set_defaults(run=run_calibrate)

    show = actions.add_parser("show", help="print a head set and its layer × head map", allow_abbrev=False)
    show.add_argument("head_set", metavar="SET", help="name under agent/head_sets, with its direction, or a JSON file")
    show.add_argument("--rows", type=int, default=10, metavar="N", help="heads listed (default: 10)")
    show.add_argument("--plot", type=Path, metavar="FILE", help="write the map as .png, .svg or .pdf")
    show.set_defaults(run=run_show)

    check = actions.add_parser(
        "check", help="whether a head set fits the model and prompt of a configuration", allow_abbrev=False
    )
    add_configuration(check)
    check.set_defaults(run=run_check)

    probe = subparsers.add_parser(
        "probe",
        help="from a model to a working preset: layout, heads, self-test, YAML",
        description="Check that a model can be used, calibrate its heads and write a preset for simulstream --config.",
        allow_abbrev=False,
    )
    probe.add_argument("model", metavar="MODEL", help="folder or hub id of a decoder-only model")
    add_configuration(probe)
    add_corpus(probe)
    probe.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for head set and preset")
    probe.set_defaults(run=run_probe)


def add_configuration(parser: argparse.ArgumentParser) -> None:
    """Options that name model, prompt and direction, as those of ``simulstream``."""
    parser.add_argument("--preset", metavar="NAME", help="shipped configuration (default: {src}{tgt}-low)")
    parser.add_argument("--profile", metavar="NAME", help="machine of the preset: demo, a40, a100-40, h100, cpu")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration YAML instead of a preset")
    parser.add_argument("--src-lang", metavar="CODE", help="language spoken (default: en)")
    parser.add_argument("--tgt-lang", metavar="CODE", help="language wanted (default: de)")
    parser.add_argument(
        "--set", nargs="+", action="append", metavar="KEY=VALUE", help="change keys, e.g. mt.model=FOLDER"
    )


def add_corpus(parser: argparse.ArgumentParser) -> None:
    """Options that name parallel text and its alignments."""
    parser.add_argument(
        "--corpus", nargs=2, type=Path, required=True, metavar=("SOURCE", "TARGET"), help="text files, line by line"
    )
    parser.add_argument(
        "--alignments",
        type=Path,
        metavar="FILE",
        help="word alignments of the corpus: Pharaoh i-j lines, or *.json with character spans (default: eflomal)",
    )
    parser.add_argument(
        "--symmetrise", choices=("intersection", "union"), default="intersection", help="of eflomal's two directions"
    )
    parser.add_argument(
        "--segmenter",
        default="",
        metavar="COMMAND",
        help="program that splits Chinese lines into words for eflomal (default: single characters)",
    )
    parser.add_argument(
        "--held-out",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="evaluation texts: pairs with one of their sentences are left out (default: the demo talks)",
    )
    parser.add_argument("--max-pairs", type=_positive, default=400, metavar="N", help="pairs scored (default: 400)")
    parser.add_argument(
        "--select",
        choices=("any", "top", "greedy"),
        default="any",
        help="heads read together: the best ones (top), chosen for their mean row (greedy), or whichever scores better",
    )
    parser.add_argument("--context", action="store_true", help="join about half of the pairs with the next line")
    parser.add_argument("--batch", type=_positive, default=8, metavar="N", help="pairs a forward pass (default: 8)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder for rows, to go on after an interruption")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not '{text}'")
    return int(text)


def configuration(args: argparse.Namespace) -> AgentConfig:
    """The configuration that the options name."""
    from agent import config
    from agent.run.settings import Options, assignments_of, resolve

    settings = resolve(
        Options(
            preset=args.preset,
            profile=args.profile,
            config=args.config,
            source_lang=args.src_lang,
            target_lang=args.tgt_lang,
            assignments=assignments_of(args.set),
        )
    )
    return config.from_namespace(settings.tree)


def run_calibrate(args: argparse.Namespace) -> int:
    """Align, score, choose, write."""
    from rich.console import Console

    from agent.mt import head_sets, model_check
    from heads import show
    from heads.calibrate import calibrate
    from heads.text import load_subject, prepare

    config = configuration(args)
    head_sets.check_writable(args.output)
    if args.work:
        head_sets.check_writable(args.work / "signature")
    model_check.refuse(model_check.model_config(config.mt), config.mt.model)
    console = Console()
    prepared = prepare(args, config.source_lang, config.target_lang, console)
    subject = load_subject(config)
    started = time.perf_counter()
    done = calibrate(subject, prepared.pairs, prepared.provenance, args.batch, args.work, args.select)
    head_sets.save(args.output, done.head_set)
    show.show(done.head_set, 8, console)
    console.print(cost(len(prepared.pairs), time.perf_counter() - started, subject.model))
    # Not by the console, which would break commands and file names at the width of the window.
    print(f"Written: {args.output}. Use it with --set mt.head_set={args.output}")
    return 0


def cost(n_pairs: int, seconds: float, model: Any) -> str:
    """Time and peak memory of a calibration, for people who plan a larger one."""
    import torch

    unit = 2**20 if sys.platform == "darwin" else 2**10
    memory = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit:.0f} MiB"
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
    import dataclasses

    from rich.console import Console

    from agent.mt import head_sets
    from heads import probe as steps
    from heads import show
    from heads.calibrate import calibrate
    from heads.text import load_subject, prepare

    console = Console()
    config = configuration(args)
    config = steps.admit(dataclasses.replace(config, mt=dataclasses.replace(config.mt, model=args.model)))
    head_set_file, preset_file = steps.output_files(args.output, config)
    if args.work:
        head_sets.check_writable(args.work / "signature")
    prepared = prepare(args, config.source_lang, config.target_lang, console)
    subject = load_subject(config)
    parity = steps.parity(subject, prepared.pairs[0])
    done = calibrate(subject, prepared.pairs, prepared.provenance, args.batch, args.work, args.select)
    speed = steps.time_per_token_ms(subject, prepared.pairs, config.mt.threads)
    head_sets.save(head_set_file, done.head_set)
    mt = dataclasses.replace(config.mt, head_set=str(head_set_file.resolve()), n_heads=0)
    preset_file.write_text(steps.preset(config, mt), encoding="utf-8")
    show.show(done.head_set, 8, console)
    console.print(
        f"layout: source span verified, system turn {config.mt.prompt.system!r}, header {config.mt.prompt.header!r}\n"
        f"rows: largest difference from eager attention {parity.max_difference:.2g}, same peak {parity.same_peak:.1%}\n"
        f"speed: {speed:.1f} ms a drafted token (engine hf, {subject.model.device}, {config.mt.dtype})"
    )
    ts = done.head_set.provenance["mean_row"]["ts_held_out"]
    if ts < steps.USELESS_TS:
        console.print(f"warning: TS {ts:.2f} is low; this model's attention hardly follows this direction's source.")
    # Not by the console, which would break commands and file names at the width of the window.
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
