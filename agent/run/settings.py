"""From options typed on a command line to the configuration a speech processor receives.

`resolve` serves both the inference run and the servers. Our own agent is checked against `agent.config`; another
class gets the YAML given by ``--config`` as it is, with ``type`` set and ``--set`` applied.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from agent import config as agent_config
from agent import plugins
from agent.errors import UserError, nearest
from agent.run import profiles

OUR_AGENT = "agent.AlignAttAgent"
OUR_NAMES = frozenset((OUR_AGENT, "agent.agent.AlignAttAgent"))


@dataclass(frozen=True)
class Options:
    """What was typed. Empty or None means that the option was not given."""

    agent: str | None = None
    preset: str | None = None
    profile: str | None = None
    config: Path | None = None
    regime: str | None = None
    source_lang: str | None = None
    target_lang: str | None = None
    assignments: tuple[str, ...] = ()
    """``key=value`` texts of ``--set``, later ones win."""


@dataclass(frozen=True)
class Settings:
    """What will run. ``tree`` is the effective configuration; its ``type`` is ``agent``."""

    agent: str
    tree: Mapping[str, Any]
    ours: bool
    source_lang: str | None
    target_lang: str | None
    preset: str = ""
    """The shipped configuration that it comes from; empty for a file of one's own."""
    profile: str = "demo"
    """The kind of machine that the preset is for (`agent.run.profiles`)."""

    def dump(self, **changes: Any) -> str:
        """The configuration as YAML that simulstream and OmniSTEval read."""
        return yaml.safe_dump({**self.tree, **changes}, sort_keys=False, allow_unicode=True)

    @property
    def separator(self) -> str:
        """What stands between two output tokens."""
        return "" if self.tree.get("latency_unit") == "char" else " "


def resolve(options: Options) -> Settings:
    """The effective configuration; UserError when anything in it cannot be used. Loads no model and no torch."""
    if options.preset and options.config:
        raise UserError("Give --preset or --config, not both.")
    if options.regime and (options.preset or options.config):
        raise UserError("--regime chooses among the presets; leave it out with --preset or --config.")
    if options.profile and options.config:
        raise UserError("--profile chooses among the presets; leave it out with --config.")
    overrides = dict(agent_config.parse_assignment(text) for text in options.assignments)
    tree = agent_config.read_yaml(options.config) if options.config else {}
    agent = options.agent or str(tree.get("type") or OUR_AGENT)
    if is_ours(agent):
        return _ours(agent, options, overrides)
    if options.preset or options.regime or options.profile:
        raise UserError(f"Presets are for {OUR_AGENT}; give {agent} its own YAML with --config.")
    for key, value in overrides.items():
        agent_config.set_key(tree, key, value)
    tree["type"] = agent
    return Settings(agent, tree, False, options.source_lang, options.target_lang)


def load_class(path: str) -> type[Any]:
    """The speech processor class at a dotted path; UserError when there is none. May import torch."""
    from simulstream.server.speech_processors import SpeechProcessor

    module_name, dot, name = path.rpartition(".")
    if not dot or not module_name:
        raise UserError(f"--agent wants package.module.Class, e.g. {OUR_AGENT}, not '{path}'.")
    module = plugins.import_module(module_name, f"--agent {path}")
    found = getattr(module, name, None)
    if found is None:
        classes = {key for key, value in vars(module).items() if inspect.isclass(value)}
        classes |= set(getattr(module, "__all__", ()))
        raise UserError(f"--agent {path}: '{module_name}' has no '{name}'.{nearest(name, classes) if classes else ''}")
    if not inspect.isclass(found) or not issubclass(found, SpeechProcessor):
        raise UserError(f"--agent {path} is not a simulstream SpeechProcessor class.")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise UserError(f"--agent {path} is abstract (missing {missing}).")
    return found


def is_ours(path: str) -> bool:
    """Whether a speech processor is our agent or a subclass of it, which has its configuration, trace and report."""
    if path in OUR_NAMES:
        return True
    from agent.agent import AlignAttAgent  # only here: imports torch

    return issubclass(load_class(path), AlignAttAgent)


def build(settings: Settings, config_file: Path) -> Any:
    """A ready speech processor, made by simulstream from ``config_file``. Loads the models."""
    from simulstream.config import yaml_config
    from simulstream.server.speech_processors import build_speech_processor

    namespace: SimpleNamespace = yaml_config(str(config_file))
    try:
        processor = build_speech_processor(namespace)
        _ = processor.speech_chunk_size
    except AttributeError as error:
        if settings.ours or "SimpleNamespace" not in str(error):
            raise
        raise UserError(
            f"{settings.agent} needs a configuration key that is missing ({error.name}): "
            f"give it with --config FILE or --set {error.name}=…"
        ) from error
    return processor


def _ours(agent: str, options: Options, overrides: dict[str, Any]) -> Settings:
    if options.source_lang:
        overrides["source_lang"] = options.source_lang
    if options.target_lang:
        overrides["target_lang"] = options.target_lang
    if options.config is not None:
        config = agent_config.load(options.config, {**overrides, "type": agent})
        return Settings(agent, agent_config.to_dict(config), True, config.source_lang, config.target_lang)
    preset = _preset(options)
    tree = preset.tree() if preset is not None else {"regime": options.regime or "low"}
    agent_config.override(tree, {**overrides, "type": agent})
    config = agent_config.from_tree(tree)
    name, profile = (preset.name, preset.profile) if preset is not None else ("", "demo")
    full = agent_config.to_dict(config)
    return Settings(agent, full, True, config.source_lang, config.target_lang, name, profile)


def _preset(options: Options) -> profiles.Preset | None:
    """The preset that options ask for; None where the embedded models have none for the direction."""
    source, target = options.source_lang or "en", options.target_lang or "de"
    if options.profile:
        profiles.get(options.profile)
    if options.preset:
        preset = profiles.parse(options.preset)
        return replace(preset, profile=options.profile) if options.profile else preset
    preset = profiles.Preset(source, target, options.regime or "low", options.profile or "demo")
    is_embedded = f"{source}-{target}" in agent_config.EMBEDDED_DIRECTIONS
    return preset if is_embedded or preset.profile != "demo" else None
