"""Bugs that a model shows by itself: dropout in the wrong mode, a batch that decides what an example returns."""

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from align.edges import ROOT
from align.invariants import ALONE, ORDER, PADDING
from align.selftest import tensors
from align.selftest.mutation import Mutation
from align.selftest.sabotage import override, set_attributes
from align.selftest.site import Site
from align.session import Session
from align.stages.invariance import REPETITION, TRAINING
from fake_data.variations import variable_by_design

Tensor = Any


def mutations(site: Site) -> list[Mutation]:
    """Every kind that the model has a place for."""
    return [m for kinds in (_dropouts, _batches, _masks) for m in kinds(site)]


def _bug(kind: str, name: str, blamed: str, module: str, forward: Callable[..., Any], explained: str = "") -> Mutation:
    """A mutation that gives a module another forward."""

    def apply(session: Session) -> None:
        override(session, module, forward)

    return Mutation(kind, name, "invariance", blamed, apply, explained)


def _dropouts(site: Site) -> Iterator[Mutation]:
    dropouts = [name for name in site.of_class("Dropout") if site.kinds[name].get("p", 0) > 0]
    if not dropouts:
        return
    module = dropouts[len(dropouts) // 2]
    yield _bug("FW53", "dropout_in_evaluation", module, module, _always_drop, "in evaluation")
    yield _bug("FW52", "dropout_lost", module, module, lambda self, original, x: x, "never runs")
    yield _bug("FW52", "dropout_without_effect", module, module, _drop_in_vain, "not used")
    yield _bug("TR01", "scaled_in_training", TRAINING, module, _scale_in_training)
    less = partial(set_attributes, name=module, p=site.kinds[module]["p"] / 2)
    yield Mutation("FW52", "half_the_probability", "invariance", module, less, "probability")


def _always_drop(self: Any, original: Callable[..., Tensor], x: Tensor) -> Tensor:
    return tensors.framework_of(x).nn.functional.dropout(x, p=self.p, training=True)


def _drop_in_vain(self: Any, original: Callable[..., Tensor], x: Tensor) -> Tensor:
    original(x)
    return x


def _scale_in_training(self: Any, original: Callable[..., Tensor], x: Tensor) -> Tensor:
    return original(x) * (1 - self.p) if self.training else x


def _batches(site: Site) -> Iterator[Mutation]:
    norms = [name for name in site.kinds if "Norm" in site.kinds[name]["class"]]
    if not norms:
        return
    norm = norms[len(norms) // 2]
    yield _bug("FW24", "first_example_for_all", ORDER, norm, _first_for_all)
    yield _bug("TR02", "statistics_of_the_batch", ALONE, norm, _centred_over_the_batch)
    yield _bug("FW22", "values_of_the_first_batch", ORDER, norm, _Kept())
    yield _bug("FW53", "random_in_evaluation", REPETITION, norm, _noisy)
    yield _bug("FW58", "squeezed_batch_of_one", ALONE, ROOT, _squeezed)


def _first_for_all(self: Any, original: Callable[..., Tensor], x: Tensor) -> Tensor:
    y = original(x)
    return y * 0.999 + y[:1] * 0.001


def _centred_over_the_batch(self: Any, original: Callable[..., Tensor], x: Tensor) -> Tensor:
    y = original(x)
    return y - 0.001 * y.mean(0)


def _noisy(self: Any, original: Callable[..., Tensor], x: Tensor) -> Tensor:
    y = original(x)
    return y + 1e-9 * tensors.framework_of(x).rand_like(y)


class _Kept:
    """Scales by a number that is made of the first values of each shape, and kept."""

    def __init__(self) -> None:
        self._first: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, module: Any, original: Callable[..., Tensor], x: Tensor) -> Tensor:
        y = original(x)
        kept = self._first.setdefault(tuple(x.shape), y.detach())
        return y * 0.999 + kept * 0.001


def _squeezed(self: Any, original: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    returned = original(*arguments, **named)
    return {k: v.squeeze(0) if v.ndim > 1 and v.shape[0] == 1 else v for k, v in returned.items()}


def _masks(site: Site) -> Iterator[Mutation]:
    if PADDING in variable_by_design(site.model, site.config):
        return
    yield _bug("FW22", "mask_ignored", PADDING, ROOT, _unmasked)
    softmax = next((name for name in site.of_class("Softmax")), None)
    if softmax is not None:
        yield _bug("FW25", "finite_mask", PADDING, softmax, _leaking)


def _unmasked(self: Any, original: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    bound = inspect.signature(original).bind(*arguments, **named)
    mask = bound.arguments["attention_mask"]
    bound.arguments["attention_mask"] = tensors.framework_of(mask).ones_like(mask)
    return original(*bound.args, **bound.kwargs)


def _leaking(self: Any, original: Callable[..., Tensor], scores: Tensor) -> Tensor:
    """Masked scores stand only 20 below the largest."""
    return original(tensors.framework_of(scores).maximum(scores, scores.amax(-1, keepdim=True) - 20.0))
