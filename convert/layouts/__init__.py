"""One file per architecture, found by its stem: `LAYOUTS` maps a layout's name to its rules from our torch layout.

`SPARE`, where it stands, names the modules that published checkpoints hold whatever model their config.json names.

The torch layout itself, the hub, needs no rules of its own: it is read off the rules to our Paddle layout.
"""

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from convert.errors import ConvertError, nearest
from convert.plan import Table
from convert.rules import Rules, active, compose, current, identity, inverse, numbered

# Architectures of the user's own are found in the folder `ports`.
__path__.append(str(Path(os.environ.get("PLUMBLINE_PORTS", "ports")).absolute() / "convert/layouts"))

LAYOUTS = ("torch", "paddle", "transformers", "paddlenlp", "tf", "bert4keras")  # what --from and --to accept


def names() -> list[str]:
    """The architectures that can be converted."""
    return sorted(module.name for module in iter_modules(__path__))


def check_names(model: str | None, layout: str) -> None:
    """Raise ConvertError for an unknown layout, or an unknown architecture if there is one."""
    if model is not None and model not in names():
        raise ConvertError(f"unknown model {model!r}{nearest(model, names())}; known: {', '.join(names())}")
    if layout not in LAYOUTS:
        raise ConvertError(f"unknown layout {layout!r}{nearest(layout, LAYOUTS)}; known: {', '.join(LAYOUTS)}")


def rules(model: str, layout: str) -> Rules:
    """The rules of `model` from our torch layout to `layout`. Raises ConvertError for an unknown name of either."""
    check_names(model, layout)
    if layout not in layouts(model):
        raise ConvertError(f"{model} has no {layout} layout; it has {', '.join(layouts(model))}")
    declared = _declared(model)
    return identity(declared["paddle"]) if layout == "torch" else declared[layout]


def layouts(model: str) -> tuple[str, ...]:
    """The layouts that `model` has."""
    return ("torch", *_declared(model))


def spare(model: str) -> tuple[str, ...]:
    """How names begin that a checkpoint may hold beyond the model that its config.json names, in our layouts."""
    return getattr(import_module(f"{__name__}.{model}"), "SPARE", ())


def _declared(model: str) -> Mapping[str, Rules]:
    return import_module(f"{__name__}.{model}").LAYOUTS


def table(model: str, source: str, target: str, config: Mapping[str, Any] | None = None) -> Table:
    """The rules of `model` from layout `source` to layout `target`, composed through our torch layout.

    `config`, the content of config.json, decides what names alone cannot: its "architectures" which head a name belongs
    to, its "tie_word_embeddings" whether a decoder is tied. Raises ConvertError for an unknown model or layout.
    """
    there = active(rules(model, source), config or {})
    onward = current(active(rules(model, target), config or {}))
    return Table(model, source, target, numbered(compose(inverse(there), onward)))
