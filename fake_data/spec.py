"""What the fake data knows of an architecture; `fake_data/NAME.py` holds it as `SPEC`, and nothing else lists it."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import fake_data
from fake_data.errors import BatchError, unknown
from fake_data.fields import Sizes, Task, regression
from fake_data.rows import SpecialIds

Config = Mapping[str, Any]

BERT_IDS = SpecialIds(pad=0, cls=101, sep=102, mask=103)
SMALL_IDS = SpecialIds(pad=0, cls=2, sep=3, mask=4)  # of a vocabulary too small for the published ones


@dataclass(frozen=True)
class Weight:
    """How a trained tensor looks whose whole name matches `pattern`: N(mean, std²).

    With `fan_in`, an axis, the standard deviation is std / √(size of that axis): a gain. `saturated` multiplies the
    tensor in the second probe; powers of two, so that every value stays exact.
    """

    pattern: str
    std: float
    mean: float = 0.0
    fan_in: int | None = None
    saturated: float = 1.0


@dataclass(frozen=True)
class Spec:
    """One architecture.

    `special_tokens` are their spellings, pad, cls, sep and mask among them; `special_ids` where they stand in the
    published vocabularies. `constants` are sizes that the configuration does not hold, `words` what it calls those that
    it spells otherwise; `length_limit` names the entry that bounds the length, if the architecture has such a bound.
    `types`: its forward takes token types. The first `weights` rule that matches a name wins. `not_invariant` names
    what changes the outputs though it should not ("padding", "tokens under padding", "batch order", "batch of one"),
    where the architecture itself has it so, with the reason; a function says it of a configuration.
    """

    tasks: Mapping[str, Task]
    weights: tuple[Weight, ...]
    special_tokens: Mapping[str, str]
    special_ids: SpecialIds = BERT_IDS
    cls_type: int = 0
    length_limit: str | None = None
    types: bool = True
    words: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, int] = field(default_factory=dict)
    not_invariant: Mapping[str, str] | Callable[[Config], Mapping[str, str]] = field(default_factory=dict)

    def task(self, name: str, config: Config | None = None) -> Task:
        """The task of this name, as the configuration has it, or a BatchError that names the nearest."""
        if name not in self.tasks:
            raise unknown("task", name, self.tasks)
        task = self.tasks[name]
        if name == "sequence_classification" and config is not None and _is_regression(config):
            task = regression(config.get("num_labels", 0))
        return task if self.types else replace(task, types=False)

    def ids_within(self, vocab_size: int) -> SpecialIds:
        """The published ids if the vocabulary reaches beyond them, else the small ones."""
        return self.special_ids if vocab_size > self.special_ids.mask + 1 else SMALL_IDS

    def sizes(self, task: Task, config: Config, known: Mapping[str, int]) -> Sizes:
        """The `known` sizes of a batch and all others that the task's fields refer to."""
        wanted = [name for field in task.all_fields for name in (*field.axes, field.bound) if isinstance(name, str)]
        limit = [self.length_limit] if self.length_limit else []
        names = dict.fromkeys([*wanted, *limit])
        return {name: known[name] if name in known else self._entry(config, name) for name in names}

    def _entry(self, config: Config, name: str) -> int:
        value = self.constants.get(name, config.get(self.words.get(name, name)))
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BatchError(f"config: {name} is {value!r}, expected a positive integer; give the model's full config")
        return value


def _is_regression(config: Config) -> bool:
    """As in transformers: a single label is a number, unless the configuration says otherwise."""
    return (config.get("problem_type") or ("regression" if config.get("num_labels") == 1 else "")) == "regression"


def find_spec(model: str) -> Spec:
    """The specification of an architecture by its file stem, or a BatchError that names the nearest."""
    stems = [module.name for module in pkgutil.iter_modules(fake_data.__path__)]
    spec = _spec_in(model) if model in stems else None
    if spec is None:
        raise unknown("model", model, (stem for stem in stems if _spec_in(stem)))
    return spec


def _spec_in(stem: str) -> Spec | None:
    return getattr(importlib.import_module(f"fake_data.{stem}"), "SPEC", None)
