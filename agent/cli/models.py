"""``alignatt models list | check | download``: the weights that presets name."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from agent.catalogue import CATALOGUE, NamedModel
from agent.errors import EXIT_USER_ERROR, UserError
from agent.weights import (
    download,
    find,
    hub_cache,
    is_repository,
    missing_files,
    named_models,
    parse_name,
)


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command; each action sets ``run``, a callable from the parsed arguments to the exit code."""
    models = subparsers.add_parser("models", help="weights: list, check, download", description=__doc__)
    actions = models.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="known models: revision, size, licence, access", allow_abbrev=False)
    listing.set_defaults(run=run_list)

    check = actions.add_parser(
        "check", help="whether the weights of a preset are on this machine; exit code 2 if not", allow_abbrev=False
    )
    _add_preset(check)
    check.set_defaults(run=run_check)

    fetch = actions.add_parser(
        "download",
        help="fetch models into the hub cache or a folder",
        description="Fetch models by name, or those of a preset. What is there already is not fetched again.",
        allow_abbrev=False,
    )
    fetch.add_argument("models", nargs="*", metavar="MODEL", help="ORGANISATION/NAME or ORGANISATION/NAME@REVISION")
    fetch.add_argument("--to", type=Path, metavar="DIR", help="folder for plain copies (default: the hub cache)")
    _add_preset(fetch)
    fetch.set_defaults(run=run_download)


def _add_preset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", metavar="NAME", help="preset, e.g. ende-low-a40")
    parser.add_argument("--profile", metavar="NAME", help="profile of the preset, e.g. a40")
    parser.add_argument(
        "--set", nargs="+", action="append", metavar="KEY=VALUE", help="change keys, e.g. mt.model=FOLDER"
    )


def run_list(args: argparse.Namespace) -> int:
    """Print the catalogue."""
    for entry in CATALOGUE:
        here = find(entry.repository, entry.revision)
        size = f"{entry.size_gb:.1f} GB" if entry.size_gb else "size: see the model card"
        print(f"{entry.repository}  {entry.role}")
        print(f"    revision {entry.revision}, {size}, licence: {entry.licence}, access: {entry.access}")
        print(f"    {here or 'not on this machine'}")
    print(f"Hub cache: {hub_cache()}")
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Print where each model of the preset is; 2 when one is missing or incomplete."""
    complete = True
    for model in _models(args):
        here = find(model.model, model.revision)
        complete &= here is not None
        print(f"{'ok' if here else 'missing':<8}{model.key:<20}{model.label}  {here or _lacking(model)}".rstrip())
    if not complete:
        print(f"Get them: alignatt models download {_options(args)}", file=sys.stderr)
    return 0 if complete else EXIT_USER_ERROR


def run_download(args: argparse.Namespace) -> int:
    """Fetch one model after the other."""
    if args.models and (args.preset or args.profile):
        raise UserError("Give names of models or a preset, not both.")
    wanted = [parse_name(text) for text in args.models] if args.models else _hub_models(args)
    for number, model in enumerate(wanted, start=1):
        known = model.published
        size = f", {known.size_gb:.1f} GB" if known and known.size_gb else ""
        print(f"{number}/{len(wanted)} {model.label}{size}", flush=True)
        folder = download(model.model, model.revision, args.to)
        print(f"    {folder}")
        if args.to is not None:
            print(f"    use it with --set {model.key or 'mt.model'}={folder}")
    return 0


def _models(args: argparse.Namespace) -> list[NamedModel]:
    from agent.config import from_namespace
    from agent.run.settings import Options, assignments_of, resolve

    if not (args.preset or args.profile):
        raise UserError("Name a preset, e.g. --preset ende-low-a40, or a profile, e.g. --profile a40.")
    options = Options(preset=args.preset, profile=args.profile, assignments=assignments_of(args.set))
    return named_models(from_namespace(resolve(options).tree))


def _hub_models(args: argparse.Namespace) -> list[NamedModel]:
    """The models of the preset that are repositories, not folders of this machine."""
    return [model for model in _models(args) if is_repository(model.model)]


def _lacking(model: NamedModel) -> str:
    folder = Path(model.model)
    return f"without {', '.join(missing_files(folder))}" if folder.is_dir() else ""


def _options(args: argparse.Namespace) -> str:
    given = (("--preset", args.preset), ("--profile", args.profile))
    return " ".join(f"{name} {value}" for name, value in given if value)
