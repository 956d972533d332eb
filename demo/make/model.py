"""Build the embedded translation model: ``python -m demo.make.model`` (about an hour on two cores).

Writes ``demo/model`` (tokenizer, configuration, bf16 weights). Then calibrate heads: ``python -m demo.make.calibrate``.
"""

from __future__ import annotations

import argparse
import os
import random
from pathlib import Path
from typing import Any

import torch
from transformers import Gemma4ForCausalLM

from agent.mt.config import PromptConfig
from agent.mt.prompt import PromptLayout
from demo.make.confusions import confusions
from demo.make.examples import DIRECTIONS, ExampleMaker, sample_texts
from demo.make.model_config import generation_config, model_config, train_tokenizer
from demo.make.talk_texts import held_out_sources
from demo.make.train import TrainOptions, train

FOLDER = Path(__file__).parents[1] / "model"


def layouts(tokenizer: Any) -> dict[str, PromptLayout]:
    """The run-time prompt layout of each target language."""
    return {target: PromptLayout(tokenizer, PromptConfig(), source, target) for source, target in DIRECTIONS}


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a model folder that Transformers and vLLM load; weights in bf16."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    copy: Any = Gemma4ForCausalLM(model.config)
    copy = copy.to(torch.bfloat16)
    copy.load_state_dict(model.state_dict())
    copy.generation_config = generation_config(tokenizer)
    copy.save_pretrained(folder)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=FOLDER)
    parser.add_argument("--steps", type=int, default=TrainOptions.steps)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the data worker is a fork
    options = TrainOptions(steps=arguments.steps)
    tokenizer = train_tokenizer(
        [*sample_texts(random.Random(7), 3000), *["system\nuser\nmodel\n"] * 1000]
        + [f"Translate English speech to {name}." for name in ("German", "Italian", "Chinese")] * 1000
    )
    torch.manual_seed(options.seed)
    model = Gemma4ForCausalLM(model_config(tokenizer))
    model.set_attn_implementation("eager")  # half the time of SDPA for so small a model on a CPU
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens")
    maker = ExampleMaker(tokenizer, layouts(tokenizer), confusions(), held_out_sources())
    train(model, maker, options, lambda step: save(model, tokenizer, arguments.output), arguments.threads)


if __name__ == "__main__":
    main()
