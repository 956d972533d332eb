"""Head sets: files, choice of heads, and what does not fit a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.errors import UserError
from agent.mt.drafter import Head
from agent.mt.head_sets import SETS, HeadSet, ScoredHead, check_fits, fingerprint, head_set_path, load, save


def ranked(*triples: tuple[int, int, float]) -> tuple[ScoredHead, ...]:
    return tuple(ScoredHead(Head(layer, head), score) for layer, head, score in triples)


def heads(**more: Any) -> HeadSet:
    own, predicting = ranked((1, 1, 0.5)), ranked((3, 2, 0.9), (0, 1, 0.7), (2, 2, 0.1))
    scores: Any = {"own": own, "predicting": predicting}
    return HeadSet("m", "en-de", 4, 4, "predicting", 2, scores, **more)


def test_a_saved_set_loads_as_it_was(tmp_path: Path) -> None:
    before = heads(layout="abc", provenance={"corpus": "gold – “x”"})
    save(tmp_path / "new" / "set.json", before)
    assert load(tmp_path / "new" / "set.json") == before
    text = (tmp_path / "new" / "set.json").read_text(encoding="utf-8")
    assert "[3, 2, 0.9]" in text
    assert fingerprint(tmp_path / "new" / "set.json") == fingerprint(tmp_path / "new" / "set.json")


def test_the_best_heads_of_a_convention_are_chosen() -> None:
    chosen = heads().select()
    assert chosen.heads == (Head(3, 2), Head(0, 1))
    assert chosen.weights.dtype == np.float32
    assert chosen.weights.tolist() == pytest.approx([0.9, 0.7])
    assert chosen.convention == "predicting"
    assert heads().select(n=1).heads == (Head(3, 2),)
    assert len(heads().select(n=99).heads) == 3
    assert heads().select("own").heads == (Head(1, 1),)
    # A convention that was not calibrated falls back to the set's own.
    only = HeadSet("m", "en-de", 4, 4, "predicting", 1, {"predicting": ranked((0, 0, 0.5))})
    assert only.select("own").convention == "predicting"


def test_a_head_outside_the_model_is_refused_and_another_prompt_layout_is_a_warning() -> None:
    for layers, per_layer in ((3, 4), (4, 2)):
        with pytest.raises(UserError, match=r"head 3\.2 is outside the model"):
            check_fits(heads(), layers, per_layer, "", "set.json")
    assert check_fits(heads(layout="a"), 4, 4, "a", "set.json") == []
    assert check_fits(heads(), 4, 4, "a", "set.json") == []
    (warning,) = check_fits(heads(layout="a"), 4, 4, "b", "set.json")
    assert "another prompt layout" in warning


def test_a_path_may_name_the_direction(tmp_path: Path) -> None:
    save(tmp_path / "x-en-de.json", heads())
    assert head_set_path(str(tmp_path / "x-{src}-{tgt}.json"), "en", "de") == tmp_path / "x-en-de.json"
    with pytest.raises(UserError, match="No head set 'nothing' for en-it"):
        head_set_path("nothing", "en", "it")


VALID: dict[str, Any] = {"format": 1, "model": "m", "direction": "en-de", "n_layers": 2, "n_heads": 2, "k": 1}
VALID |= {"convention": "own", "scores": {"own": [[0, 1, 0.5]]}}


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"scores": {"own": []}},
        {"scores": {"own": [[0, 1]]}},
        {"scores": [[0, 1, 0.5]]},
        {"scores": {"own": [["a", 1, 0.5]]}},
        {"convention": "predicting"},
        {"k": 0},
        {"n_layers": None},
        {"convention": "next", "scores": {"next": [[0, 1, 0.5]]}},
        {"scores": {"own": [[0, 1, 0.5], [0, 1, 0.4]]}},
        {"scores": {"own": [[0, 1, 1.5]]}},
        {"scores": {"own": [[0, 1, float("nan")]]}},
        {"selected": [[1, 1]]},
        {"scores": {"own": [[0, 1, 0.0]]}},
    ],
    ids=str,
)
def test_a_broken_set_is_one_line_that_names_the_file(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "set.json"
    path.write_text(json.dumps(VALID), encoding="utf-8")
    load(path)
    path.write_text(json.dumps(VALID | change), encoding="utf-8")
    with pytest.raises(UserError, match=r"set\.json"):
        load(path)
    for text in ("", "[]", "null", "{}", "\x00"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match="is not a head set"):
            load(path)


@pytest.mark.parametrize("path", sorted(SETS.glob("*.json")), ids=lambda path: path.stem)
def test_a_shipped_set_is_valid_and_says_where_it_comes_from(path: Path) -> None:
    shipped = load(path)
    assert path.stem.endswith(shipped.direction)
    assert check_fits(shipped, shipped.n_layers, shipped.n_heads, shipped.layout, path.name) == []
    assert shipped.provenance["corpus"]
    assert shipped.layout or shipped.provenance["layout"]
    for best_first in shipped.scores.values():
        scores = [scored.score for scored in best_first]
        assert scores == sorted(scores, reverse=True)
        assert all(0.0 <= score <= 1.0 for score in scores)
