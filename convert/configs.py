"""config.json in the words of each library. Our own models, and transformers, have transformers' words.

What an architecture's classes and options are called elsewhere, its layout file declares: `CLASSES` and `OPTIONS`, for
each layout a dict from our word to theirs. Where their classes have other defaults than ours, `DEFAULTS` has for each
layout a dict from our word to the value that ours has, and theirs, where the configuration says nothing; in `IGNORED`
stand their options that share a word with ours and mean nothing there. What no word says, a function in `SPELLING` puts
into a configuration in our words before it is renamed; it raises ConvertError where their class is another network.
`TOLD_BY` has options that are None where no tensor's name ends as given: their class makes that module by itself.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

Config = Mapping[str, Any]
GENERAL: Mapping[str, Mapping[str, str]] = {"paddlenlp": {"num_labels": "num_classes", "classifier_dropout": "dropout"}}
BOOK_KEEPING = {"paddlenlp": ("paddlenlp_version", "num_choices")}  # options that change no function


def to_ours(model: str, layout: str, config: Config) -> dict[str, Any]:
    """The configuration of a checkpoint in `layout`, in our words; the dict is a new one."""
    idle = (*BOOK_KEEPING.get(layout, ()), *_declared(model, "IGNORED", layout))
    kept = {key: value for key, value in config.items() if key not in idle}
    words = {**GENERAL.get(layout, {}), **_declared(model, "OPTIONS", layout)}
    classes = _declared(model, "CLASSES", layout)
    silent = {word: theirs for word, (_, theirs) in _declared(model, "DEFAULTS", layout).items()}
    return {**silent, **_renamed(kept, _inverse(words), _inverse(classes))}


def told_by_tensors(model: str, layout: str, names: Iterable[str]) -> dict[str, Any]:
    """The options that are None because a checkpoint in `layout` holds no tensor for them."""
    told, held = _declared(model, "TOLD_BY", layout), tuple(names)
    return {option: None for option, ending in told.items() if not any(name.endswith(ending) for name in held)}


def from_ours(model: str, layout: str, config: Config) -> dict[str, Any]:
    """A configuration in our words, in those of `layout`; what both understand stays as it is."""
    silent = {word: ours for word, (ours, _) in _declared(model, "DEFAULTS", layout).items()}
    spelled = _layout_file(model, "SPELLING").get(layout, dict)({**silent, **config})
    return _renamed(spelled, _declared(model, "OPTIONS", layout), _declared(model, "CLASSES", layout))


def _renamed(config: Config, words: Mapping[str, str], classes: Mapping[str, str]) -> dict[str, Any]:
    renamed = {words.get(key, key): value for key, value in config.items()}
    if named := config.get("architectures"):
        renamed["architectures"] = [classes.get(name, name) for name in named]
    return renamed


def _declared(model: str, table: str, layout: str) -> Any:
    return _layout_file(model, table).get(layout, {})


def _layout_file(model: str, table: str) -> Mapping[str, Any]:
    return getattr(import_module(f"convert.layouts.{model}"), table, {})


def _inverse(words: Mapping[str, str]) -> dict[str, str]:
    return {theirs: ours for ours, theirs in words.items()}
