"""``alignatt models list | download``: the weights that presets name."""

from __future__ import annotations

import argparse
from pathlib import Path

from agent.catalogue import CATALOGUE
from agent.cli.options import Subparsers, add_command, add_configuration, add_group, configuration
from agent.errors import UserError
from agent.weights import download, find, hub_cache, is_repository, named_models, parse_name


def add_parsers(subparsers: Subparsers) -> None:
    """Add the command with its actions."""
    models = add_group(subparsers, "models", "weights that presets name: list, download")
    actions = models.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    add_command(actions, "list", run_list, "known models: revision, size, licence, access, and where they are here")
    description = "Fetch models by name, or those of a configuration. What is there already is not fetched again."
    summary = "fetch models into the hub cache or a folder"
    fetch = add_command(actions, "download", run_download, summary, description)
    fetch.add_argument("models", nargs="*", metavar="MODEL", help="ORGANISATION/NAME or ORGANISATION/NAME@REVISION")
    fetch.add_argument("--to", type=Path, metavar="DIR", help="folder for plain copies (default: the hub cache)")
    add_configuration(fetch)


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


def run_download(args: argparse.Namespace) -> int:
    """Fetch one model after the other."""
    named = any((args.preset, args.profile, args.config, args.regime, args.tgt_lang, args.set))
    if bool(args.models) == named:
        raise UserError("Give names of models, or a configuration (--preset ende-low-a40), and not both.")
    asked = [parse_name(text) for text in args.models] if args.models else named_models(configuration(args))
    wanted = [model for model in asked if is_repository(model.model)]
    for number, model in enumerate(wanted, start=1):
        known = model.published
        size = f", {known.size_gb:.1f} GB" if known and known.size_gb else ""
        print(f"{number}/{len(wanted)} {model.label}{size}", flush=True)
        folder = download(model.model, model.revision, args.to)
        print(f"    {folder}")
        if args.to is not None:
            print(f"    use it with --set {model.key or 'mt.model'}={folder}")
    return 0
