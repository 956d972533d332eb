"""Decoded tokens per committed token over whole talks, with and without what `agent.mt.translator` spares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tqdm import tqdm

from agent.asr.record import SUFFIX
from agent.config import AgentConfig, load, preset_path
from agent.models import ModelCache
from agent.mt.config import MtConfig
from agent.session import Session
from agent.words import Hypothesis
from bench.parts import Options
from bench.result import Cell, Result
from eval.recorded import record_talk

SETTINGS: dict[str, tuple[bool, bool, bool]] = {
    "plain drafts": (False, False, False),
    "all three": (True, True, True),
    "early stop": (True, False, False),
    "reuse": (False, True, False),
    "release": (False, False, True),
}
"""Whether drafts end early, begin with the last one, and are released: three switches of `Translator`."""

ABOUT = (
    "Every demo talk, from the same recorded hypotheses. Decoded: tokens the model chose one by one, the end of a turn "
    "included; not those of the last draft that one pass confirmed. Passes: decode steps and first passes. Computed: "
    "tokens of prompt, prefix and guess in first passes, beyond what the KV cache held. All per committed token. "
    "Same text: whether every step of every talk said exactly what it says with plain drafts."
)


@dataclass(frozen=True)
class Cost:
    """What streams said, step by step, and what the engine did for it."""

    texts: tuple[tuple[str, ...], ...]
    n_committed: int
    n_decoded: int
    n_calls: int
    n_passes: int
    n_computed: int


def translate(
    config: AgentConfig, setting: str, models: ModelCache, streams: Mapping[str, Iterable[Hypothesis]]
) -> Cost:
    """Run streams of hypotheses through one session each, with one of ``SETTINGS``."""
    translator = models.translator(config, config.source_lang, config.target_lang)
    early_stop, reuse_drafts, release_held = SETTINGS[setting]
    translator = replace(translator, early_stop=early_stop, reuse_drafts=reuse_drafts, release_held=release_held)
    texts, decisions = [], []
    for name, hypotheses in streams.items():
        session = Session(translator, config.session, name)
        steps = [session.step(hypothesis) for hypothesis in hypotheses]
        session.close()
        texts.append(tuple("".join(record.accepted for record in records) for records in steps))
        decisions += [record.decision for records in steps for record in records if record.decision is not None]
    work = [decision.work for decision in decisions]
    return Cost(
        tuple(texts),
        sum(decision.acceptance.n_tokens for decision in decisions),
        sum(w.n_decoded for w in work),
        sum(w.n_calls for w in work),
        sum(w.n_calls + w.n_forward for w in work),
        sum(w.n_prefilled for w in work),
    )


def measure(options: Options) -> Result:
    """Each preset with each setting; presets that differ in nothing are run once."""
    models, known = ModelCache(), dict[tuple[AgentConfig, str], Cost]()
    spent: dict[str, list[Cost]] = {name: [] for name in SETTINGS}
    with tqdm(total=len(options.presets) * len(SETTINGS), unit="run", desc="fewer tokens") as progress:
        for name in SETTINGS:
            for preset in options.presets:
                config = load(preset_path(preset))
                if (config, name) not in known:
                    known[config, name] = translate(config, name, models, _streams(config, options))
                spent[name].append(known[config, name])
                progress.update()
    return tabulate(spent, options)


def _streams(config: AgentConfig, options: Options) -> dict[str, list[Hypothesis]]:
    recorded = {
        talk.stem: record_talk(talk, config, options.recordings / f"{talk.stem}-{config.speech_chunk_size}{SUFFIX}")
        for talk in options.talks
    }
    return {name: [*(step.hypothesis for step in talk.steps), talk.final] for name, talk in recorded.items()}


def tabulate(spent: Mapping[str, Sequence[Cost]], options: Options) -> Result:
    """The table of all runs: by setting, one of each preset."""
    plain = spent["plain drafts"]
    totals = [_row("all", name, runs, plain) for name, runs in spent.items()]
    rows = [
        _row(preset, name, runs[i : i + 1], plain[i : i + 1])
        for i, preset in enumerate(options.presets)
        for name, runs in spent.items()
    ]
    columns = ("preset", "setting", "decoded", "passes", "computed", "calls", "committed tokens", "same text")
    settings = {"talks": [talk.stem for talk in options.talks], "max_draft_tokens": MtConfig().max_draft_tokens}
    return Result("fewer-tokens", "Decoded tokens per committed token", ABOUT, columns, (*totals, *rows), settings)


def _row(preset: str, setting: str, runs: Sequence[Cost], plain: Sequence[Cost]) -> tuple[Cell, ...]:
    n_committed = sum(run.n_committed for run in runs)
    counts = [sum(getattr(run, name) for run in runs) for name in ("n_decoded", "n_passes", "n_computed", "n_calls")]
    same = [run.texts for run in runs] == [run.texts for run in plain]
    figures = [count / n_committed if n_committed else None for count in counts]
    return (preset, setting, *figures, n_committed, "yes" if same else "no")
