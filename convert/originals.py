"""Checkpoints of the code an architecture was published with: TensorFlow bundles, without a config.json of our form.

A layout file that has a table for them declares an `ORIGINAL`; the configuration is then derived.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from convert.errors import CheckpointError, ConvertError
from convert.formats.stored import json_object

Shapes = Mapping[str, tuple[int, ...]]
Config = Mapping[str, Any]


@dataclass(frozen=True)
class Original:
    """How the original checkpoints of an architecture are told from others, and what config.json they should have.

    `mark` is a tensor that each of them holds, `layout` the one that they have. `parts` maps what a checkpoint may be
    taken for to the model's class. `derive` makes config.json in our words from the shapes, the content of the
    authors' own configuration file `config` (empty where they have none) and the part wanted; it raises ConvertError
    where that cannot be.
    """

    mark: str
    derive: Callable[[Shapes, Config, str | None], dict[str, Any]]
    config: str | None = None
    parts: Mapping[str, str] = field(default_factory=dict)
    layout: str = "tf"


def layout_of(shapes: Shapes, models: list[str]) -> str:
    """The layout of a TensorFlow bundle: that of the original which has its mark."""
    original = _original(shapes, models)
    return original.layout if original else "tf"


def derived_config(folder: Path, shapes: Shapes, part: str | None, models: list[str]) -> dict[str, Any]:
    """config.json of an original checkpoint that has none. Raises CheckpointError where it cannot be derived."""
    original = _original(shapes, models)
    if original is None:
        raise CheckpointError(f"{folder}: has no config.json, and its tensors do not tell the configuration; add one")
    _check_part(folder, original, part)
    file = original.config and folder / original.config
    if file and not file.is_file():
        raise CheckpointError(f"{folder}: has neither config.json nor the authors' {original.config}; add one of them")
    try:
        return original.derive(shapes, json_object(file) if file else {}, part)
    except ConvertError as error:
        raise CheckpointError(f"{folder}: {error}") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        said = f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{folder}: the configuration cannot be derived ({said}); add a config.json") from None


def config_of_part(folder: Path, config: Config, shapes: Shapes, part: str, models: list[str]) -> dict[str, Any]:
    """`config`, the config.json beside a checkpoint, for one part of it. CheckpointError if it is for another."""
    original = _original(shapes, models)
    _check_part(folder, original, part)
    named = [original.parts[part]] if original else []
    if config.get("architectures", named) != named:
        said = ", ".join(config["architectures"])
        raise CheckpointError(f"{folder}: config.json says {said}, which is not the {part}; leave --part out")
    return {**config, "architectures": named}


def count(shapes: Shapes, pattern: str) -> int:
    """How many tensors have a name of this pattern, with a number in the place of {}."""
    found = re.compile(re.escape(pattern).replace(r"\{\}", r"\d+"))
    return sum(found.fullmatch(name) is not None for name in shapes)


def _original(shapes: Shapes, models: list[str]) -> Original | None:
    declared = (vars(import_module(f"convert.layouts.{model}")).get("ORIGINAL") for model in models)
    return next((original for original in declared if original and original.mark in shapes), None)


def _check_part(folder: Path, original: Original | None, part: str | None) -> None:
    known = original.parts if original else {}
    if part is not None and part not in known:
        what = f"its parts are {', '.join(known)}" if known else "it is not of several parts; leave --part out"
        raise CheckpointError(f"{folder}: has no part {part!r}: {what}")
