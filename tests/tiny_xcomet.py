"""A random XCOMET of the real architecture in hub-cache layout: ``python -I tests/tiny_xcomet.py CACHE [HIDDEN]``.

Runs inside the COMET environment. Two layers of XLM-RoBERTa-XL of width HIDDEN (default 16) over the characters of this
text; scores mean nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytorch_lightning
import torch
import yaml
from comet.models import XCOMETMetric
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import XLMRobertaTokenizerFast, XLMRobertaXLConfig

CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZäöüßéèàòù0123456789.,:;!?'\"()-的是不了在人有我他这"
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")


def snapshot(cache: Path, repository: str) -> Path:
    """The only snapshot of a repository in a hub cache."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    found = folder / "snapshots" / ("0" * 40)
    found.mkdir(parents=True)
    return found


def write_encoder(folder: Path, hidden: int) -> None:
    """Configuration and tokenizer of the encoder: a unigram model whose pieces are characters."""
    pieces = [(token, 0.0) for token in SPECIAL] + [(c, -3.0) for c in "▁" + CHARACTERS] + [("<mask>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=SPECIAL.index("<unk>")))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    XLMRobertaTokenizerFast(tokenizer_object=tokenizer, model_max_length=512).save_pretrained(folder)
    XLMRobertaXLConfig(
        vocab_size=len(pieces),
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=4 * hidden,
        max_position_embeddings=514,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    ).save_pretrained(folder)


def main() -> None:
    """Write both repositories."""
    cache, hidden = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 16
    encoder = "facebook/xlm-roberta-xl"
    write_encoder(snapshot(cache, encoder), hidden)
    torch.manual_seed(0)
    # The keys are those of the published hparams.yaml.
    keys = {"encoder_model": "XLM-RoBERTa-XL", "pretrained_model": encoder, "word_layer": 2, "hidden_sizes": [8, 4]}
    model = XCOMETMetric(**keys, load_pretrained_weights=False)
    folder = snapshot(cache, "Unbabel/XCOMET-XL")
    (folder / "checkpoints").mkdir()
    state = {
        "state_dict": model.state_dict(),
        "hyper_parameters": {**keys, "load_pretrained_weights": False},
        "pytorch-lightning_version": pytorch_lightning.__version__,
    }
    torch.save(state, folder / "checkpoints" / "model.ckpt")
    (folder / "hparams.yaml").write_text(yaml.safe_dump({"class_identifier": "xcomet_metric", **keys}))
    print(json.dumps({"parameters": sum(p.numel() for p in model.parameters())}))


if __name__ == "__main__":
    main()
