"""How well the embedded model translates 200 unseen clean sentences: ``python -m demo.make.evaluate``.

Complete sentences with case and punctuation, no speech, no policy: the ceiling of everything else in the demo.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from operator import eq

import sacrebleu
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from agent.config import AgentConfig
from agent.models import ModelCache
from agent.mt.config import MtConfig
from agent.mt.policy.offline import Offline
from agent.words import Frontier
from demo.language import realise
from demo.make.examples import DIRECTIONS
from demo.make.talk_texts import clean_test_documents


def offline_bleu(config: AgentConfig, models: ModelCache) -> tuple[float, float]:
    """BLEU, and share of exact translations."""
    target = config.target_lang
    translator = models.translator(config, config.source_lang, target)
    outputs: list[str] = []
    references: list[str] = []
    for document in tqdm(clean_test_documents(), unit="sentence", desc=f"en-{target}", leave=False):
        words = " ".join(realise(meaning, "en").text for meaning in document).split()
        frontier = Frontier(len(words), len(words), finished=True)
        decision = translator.step(words, (), frontier, stream="")
        outputs.append(translator.text(decision.draft.token_ids).strip())
        references.append(realise(document[0], target).text)
    tokenizer = "zh" if target == "zh" else "13a"
    bleu = sacrebleu.corpus_bleu(outputs, [references], tokenize=tokenizer).score
    return bleu, sum(map(eq, outputs, references)) / len(outputs)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=MtConfig.model)
    arguments = parser.parse_args()
    base = AgentConfig(mt=MtConfig(model=arguments.model), policy=Offline())
    table, models = Table("direction", "BLEU", "exact"), ModelCache()
    for _, target in DIRECTIONS:
        bleu, exact = offline_bleu(replace(base, target_lang=target), models)
        table.add_row(f"en-{target}", f"{bleu:.2f}", f"{exact:.1%}")
    Console().print(table)


if __name__ == "__main__":
    main()
