"""Configuration keys: the fields of frozen dataclasses, with bounds beside their defaults and a docstring below.

`build` makes such a dataclass from a tree of plain values and names whatever is wrong with it; `keys_of` lists the keys
for the documentation.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin, get_type_hints

from agent.errors import UserError, nearest

T = typing.TypeVar("T")


def key(
    default: Any, *, low: float | None = None, high: float | None = None, odd: bool = False, one_of: Any = None
) -> Any:
    """A dataclass field with its bounds, both inclusive. ``one_of``: the numbers that are allowed."""
    bounds = {"low": low, "high": high, "one_of": one_of, "odd": odd or None}
    return dataclasses.field(
        default=default, metadata={name: value for name, value in bounds.items() if value is not None}
    )


def build(cls: type[T], tree: Any, where: str = "") -> T:
    """``cls`` with the values of ``tree``. ``where``: dotted prefix of its keys. UserError for what cannot be used.

    A field whose class a key of its group names has in its metadata what makes it (``choose``).
    """
    if not isinstance(tree, dict):
        raise UserError(f"Key '{where.rstrip('.')}' is a group of keys, not {tree!r}.")
    hints = get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, cls))}
    values: dict[str, Any] = {}
    for name, value in tree.items():
        if name not in fields:
            raise UserError(f"Unknown key '{where}{name}'.{nearest(str(name), fields)}")
        metadata = fields[name].metadata
        if "choose" in metadata:
            values[name] = metadata["choose"](value, f"{where}{name}.")
        else:
            values[name] = _coerce(hints[name], value, f"{where}{name}")
            _check_bounds(metadata, values[name], f"{where}{name}")
    return cls(**values)


@dataclass(frozen=True)
class Key:
    """A key as the documentation shows it."""

    name: str
    default: Any
    meaning: str
    bounds: str


def keys_of(cls: type[Any], where: str = "") -> Iterator[Key]:
    """The keys of a dataclass and of its groups, in order, except of groups whose class a key names."""
    meanings = _meanings(cls)
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if "choose" in field.metadata:
            continue
        if dataclasses.is_dataclass(hints[field.name]):
            yield from keys_of(hints[field.name], f"{where}{field.name}.")
            continue
        choices = get_args(hints[field.name]) if get_origin(hints[field.name]) is Literal else ()
        bounds = f"one of {', '.join(choices)}" if choices else _bounds(field.metadata)
        yield Key(f"{where}{field.name}", field.default, meanings.get(field.name, ""), bounds)


def _bounds(metadata: Any) -> str:
    low, high = metadata.get("low"), metadata.get("high")
    if "one_of" in metadata:
        return f"one of {', '.join(map(str, metadata['one_of']))}"
    parts = [f"at least {low}"] if low is not None else []
    parts += [f"at most {high}"] if high is not None else []
    return ", ".join([*parts, *(["odd"] if metadata.get("odd") else [])])


def _check_bounds(metadata: Any, value: Any, where: str) -> None:
    low, high = metadata.get("low"), metadata.get("high")
    allowed = metadata.get("one_of")
    fits = (low is None or value >= low) and (high is None or value <= high)
    if not fits or (metadata.get("odd") and value % 2 == 0) or (allowed and value not in allowed):
        raise UserError(f"Key '{where}' must be {_bounds(metadata)}, not {value}.")


def _meanings(cls: type[Any]) -> dict[str, str]:
    """The docstrings below the fields of a dataclass, its parents' included."""
    found: dict[str, str] = {}
    for owner in reversed(cls.__mro__[:-1]):
        if not dataclasses.is_dataclass(owner):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        body = typing.cast(ast.ClassDef, tree).body
        for field, below in pairwise(body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                found[ast.unparse(field.target)] = " ".join(str(below.value.value).split())
    return found


def _coerce(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, f"{where}.")
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        if value not in choices:
            raise UserError(f"Key '{where}' must be one of {', '.join(map(str, choices))}, not {value!r}.")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise UserError(f"Key '{where}' must be {_kind(hint)}, not {value!r}.")
    return value


def _kind(hint: Any) -> str:
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}.get(hint, str(hint))
