"""Training of the embedded model: examples drawn on the fly, short sentences first, one cycle of the learning rate."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from demo.make.examples import IGNORED, Example, ExampleMaker


@dataclass(frozen=True)
class TrainOptions:
    """Budget and schedule."""

    steps: int = 4200
    tokens_per_batch: int = 4096
    peak_learning_rate: float = 2e-3
    short_share: float = 0.2
    """Share of the steps that see short sentences only."""
    short_words: int = 8
    max_words: int = 20
    seed: int = 1


class Batches(torch.utils.data.IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    """Endless padded batches (ids, labels), int64 ``[examples, tokens]``, of similar lengths."""

    def __init__(self, maker: ExampleMaker, options: TrainOptions, max_words: int, seed: int) -> None:
        self._maker, self._options, self._max_words, self._seed = maker, options, max_words, seed

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        rng = random.Random(self._seed)
        while True:
            pool = sorted((self._maker.sample(rng, self._max_words) for _ in range(2048)), key=lambda e: len(e.ids))
            batches: list[list[Example]] = [[]]
            for example in pool:
                if (len(batches[-1]) + 1) * len(example.ids) > self._options.tokens_per_batch:
                    batches.append([])
                batches[-1].append(example)
            rng.shuffle(batches)
            yield from (_pad(batch) for batch in batches if batch)


def _pad(batch: list[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(len(example.ids) for example in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    labels = torch.full((len(batch), width), IGNORED)
    for row, example in enumerate(batch):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        labels[row, : len(example.labels)] = torch.tensor(example.labels)
    return ids, labels


def _loss(model: Any, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over the labelled positions; logits are computed for those alone."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    wanted = labels[:, 1:] != IGNORED
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[wanted]).float(), labels[:, 1:][wanted])


def train(
    model: Any, maker: ExampleMaker, options: TrainOptions, checkpoint: Callable[[int], None], threads: int = 2
) -> None:
    """Train ``model`` in place; ``checkpoint(step)`` is called every 1000 steps and at the end."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(threads)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=options.peak_learning_rate, weight_decay=0.01, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.peak_learning_rate, total_steps=options.steps, pct_start=0.1
    )
    n_short = int(options.steps * options.short_share)
    model.train()
    progress = tqdm(total=options.steps, unit="step", mininterval=5)
    step, average = 0, 0.0
    for max_words, end in ((options.short_words, n_short), (options.max_words, options.steps)):
        data = Batches(maker, options, max_words, options.seed + max_words)
        for ids, labels in torch.utils.data.DataLoader(data, batch_size=None, num_workers=1, prefetch_factor=16):
            if step >= end:
                break
            # Sequences are padded on the right, so the causal mask alone keeps padding out.
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = _loss(model, ids, labels)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            average += (float(loss.detach()) - average) * max(0.02, 1 / step)
            progress.update()
            progress.set_postfix(loss=f"{average:.4f}", refresh=False)
            if step % 1000 == 0 or step == options.steps:
                checkpoint(step)
    progress.close()
