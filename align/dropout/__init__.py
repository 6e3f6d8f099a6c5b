"""Dropout that falls alike on both sides: every mask comes from one counter-based stream, whatever the framework.

A mask is keyed by the seed, the training step, the module whose code asks for it and how many masks that has asked for
before. A Dropout module that only one side has counts as its parent's code: the other side calls a function there. Only
the functions `dropout` and `scaled_dot_product_attention` of a framework's functional module are replaced, which its
own layers call too.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import numpy as np

from align.backends import Backend
from align.edges import ROOT, inside
from fake_data.stream import Stream


class SharedMasks:
    """The masks of one run. `probability` replaces every probability above zero; None leaves each as it is. `common`
    are the modules that both sides have; None stands for all. Inside the modules `silent` nothing is dropped.
    """

    def __init__(
        self,
        seed: int = 0,
        probability: float | None = None,
        common: Collection[str] | None = None,
        silent: Collection[str] = (),
    ) -> None:
        self._seed = seed
        self._common = common
        self._silent = silent
        self._probability = probability
        self._running: list[str] = []
        self._asked: Counter[str] = Counter()
        self._step = 0

    def start(self, step: int) -> None:
        """Begin a forward pass: masks repeat if the step does."""
        self._step = step
        self._asked.clear()

    def probability(self, own: float) -> float:
        """What to use where the model says `own`."""
        running = self._running[-1] if self._running else ROOT
        if any(running == module or inside(running, module) for module in self._silent):
            return 0.0
        return own if self._probability is None or own == 0 else self._probability

    @property
    def owner(self) -> str:
        """The module whose code is running, so the one that asks."""
        return self._running[-1] if self._running else ROOT

    def factors(self, shape: tuple[int, ...], probability: float, upscale: bool = True) -> np.ndarray:
        """float64 of `shape`: 0 where a value is dropped, else 1/(1 − probability), or 1 unless `upscale`."""
        self._asked[self.owner] += 1
        stream = Stream(self._seed, f"dropout in step {self._step}", f"{self.owner} {self._asked[self.owner]}")
        kept = stream.uniforms(tuple(shape)) >= probability
        return kept / (1 - probability) if upscale else kept.astype(np.float64)

    def inside(self, backend: Backend, name: str, module: Any) -> AbstractContextManager[None]:
        """Know for the duration that `module` is running while its forward does."""
        alone = self._common is not None and name not in self._common
        owner = (name.rpartition(".")[0] or ROOT) if alone and "Dropout" in type(module).__name__ else name

        def tracking(forward: Callable[..., Any]) -> Callable[..., Any]:
            def tracked(*args: Any, **kwargs: Any) -> Any:
                self._running.append(owner)
                try:
                    return forward(*args, **kwargs)
                finally:
                    self._running.pop()

            # The signature of what was there still numbers the edges.
            tracked.__wrapped__ = forward  # type: ignore[attr-defined]
            return tracked

        return backend.intercepted(module, tracking)


@contextmanager
def shared_dropout(backend: Backend, model: Any, masks: SharedMasks) -> Iterator[None]:
    """Give every dropout of `model` its masks from `masks` while the context lasts."""
    with ExitStack() as stack:
        for name, module in backend.modules(model):
            stack.enter_context(masks.inside(backend, name, module))
        stack.enter_context(backend.dropped(masks))
        yield
