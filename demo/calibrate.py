"""Head sets of the embedded model, scored against the gold alignments: ``python -m demo.calibrate``.

Prints a table of translation scores and writes ``heads/sets/demo-en-{de,it,zh}.json``.
"""

from __future__ import annotations

import argparse
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from rich.console import Console
from rich.table import Table

from agent.config import MtConfig
from agent.mt.hf import load_model
from demo.build import layouts
from demo.examples import DIRECTIONS
from demo.language import Unit, alignment, realise, sample_document, spoken_units
from demo.language.realisation import join
from demo.talk_texts import held_out_sources
from heads.headset import SETS, HeadSet, ScoredHead, save
from heads.score import CONVENTIONS, AlignedPair, all_heads, collect, mean_row_score, translation_scores

SEED, N_PAIRS = 9401, 200
K_CHOICES = (1, 2, 4, 8)


def gold_pairs(target_lang: str, n_pairs: int, seed: int) -> list[AlignedPair]:
    """Unseen documents of one or two sentences as heard (no case, full stops only), with their gold alignments."""
    rng = random.Random(seed)
    pairs: list[AlignedPair] = []
    while len(pairs) < n_pairs:
        words: list[str] = []
        units: list[Unit] = []
        sources: list[frozenset[int]] = []
        for meaning in sample_document(rng, rng.randint(1, 2)):
            source, target = realise(meaning, "en"), realise(meaning, target_lang)
            links, heard = alignment(source, target), spoken_units(source)
            for index in range(len(target.units)):
                linked = {i for i, j in links if j == index}
                sources.append(frozenset(len(words) + n for n, (_, i) in enumerate(heard) if i in linked))
            units += target.units
            words += [word for word, _ in heard]
            words[-1] += "."
            if source.text in held_out_sources():
                break
        else:
            text, spans = join(target_lang, units)
            pairs.append(AlignedPair(tuple(words), text, spans, tuple(sources)))
    return pairs


def calibrate(model: Any, tokenizer: Any, target_lang: str, layout: Any, table: Table) -> HeadSet:
    """Score every head both ways, keep the better convention and the k whose mean row scores best."""
    heads = all_heads(model)
    pairs = gold_pairs(target_lang, N_PAIRS, SEED)
    collected = collect(model, tokenizer, layout, pairs, heads)
    scores = {c: translation_scores(collected, c) for c in CONVENTIONS}
    order = {c: np.argsort(-scores[c], kind="stable") for c in CONVENTIONS}
    means = {
        (c, k): mean_row_score(collected, c, order[c][:k].tolist(), scores[c][order[c][:k]])
        for c in CONVENTIONS
        for k in K_CHOICES
    }
    convention, k = max(means, key=lambda key: (round(means[key], 3), -key[1]))
    for c in CONVENTIONS:
        best = [f"{heads[i].layer}.{heads[i].head} {scores[c][i]:.3f}" for i in order[c][:3]]
        table.add_row(f"en-{target_lang}", c, *best, *(f"{means[c, n]:.3f}" for n in K_CHOICES))
    text_config = model.config.get_text_config()
    return HeadSet(
        model="demo/model",
        direction=f"en-{target_lang}",
        n_layers=text_config.num_hidden_layers,
        n_heads=text_config.num_attention_heads,
        convention=convention,
        k=k,
        scores={c: tuple(ScoredHead(heads[i], float(scores[c][i])) for i in order[c]) for c in CONVENTIONS},
        layout=layout.fingerprint,
        provenance={
            "corpus": f"controlled language, gold alignments, {N_PAIRS} unseen documents, seed {SEED}",
            "score": "TS on the first token of each unit, peak inside the source span, averaged per pair",
            "mean_row_ts": {f"{c}-top{n}": round(value, 4) for (c, n), value in means.items()},
            "tools": {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__},
            "date": datetime.now(UTC).date().isoformat(),
        },
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=MtConfig.model)
    parser.add_argument("--output", type=Path, default=SETS)
    arguments = parser.parse_args()
    torch.set_num_threads(MtConfig.threads)
    model, tokenizer = load_model(MtConfig(model=arguments.model))
    layout = layouts(tokenizer)
    table = Table(title="Translation scores of the embedded model (first token of each unit)")
    columns = ("direction", "rows", "best head", "second", "third", *(f"mean of {k}" for k in K_CHOICES))
    for column in columns:
        table.add_column(column)
    for source, target in DIRECTIONS:
        head_set = calibrate(model, tokenizer, target, layout[target], table)
        save(arguments.output / f"demo-{source}-{target}.json", head_set)
    Console().print(table)


if __name__ == "__main__":
    main()
