"""Where a model asks for dropout, and whether that reaches what it returns."""

from typing import Any

import numpy as np

from align.backends import Backend
from align.dropout import SharedMasks, shared_dropout
from align.edges import ROOT
from align.errors import CannotCompareError
from align.operations.predict import run
from align.record import Record
from align.session import Session
from fake_data.stream import Stream


class _Switched(SharedMasks):
    """Keeps everything, but where the module named in `on` asks: there half of the values are dropped, or, for
    `undefined`, all become NaN.
    """

    def __init__(self, on: str | None = None, undefined: bool = False) -> None:
        super().__init__()
        self._on, self._undefined = on, undefined
        self.asked: dict[str, None] = {}  # an ordered set

    def factors(self, shape: tuple[int, ...], probability: float, upscale: bool = True) -> np.ndarray:
        self.asked[self.owner] = None
        if self.owner != self._on:
            return np.ones(shape)
        if self._undefined:
            return np.full(shape, np.nan)
        size = int(np.prod(shape))
        dropped = Stream(0, "dropout", f"{self.owner} {shape}").order(size) < (size + 1) // 2
        return np.where(dropped, 0.0, 2.0).reshape(shape)


def survey(session: Session, batch: str) -> dict[str, Any]:
    """Try every dropout of the model alone, in float64, on the batch in a file.

    Returns the names of modules: "asked", those whose code drops values in training; "silent", those of them whose
    values no output depends on; "saturated", those on which outputs depend, though dropping changes none of their bits
    (a tanh of 100 is 1 whatever is dropped before it); "unused", Dropout modules that never drop in training;
    "evaluation", those that drop in evaluation. Of the "outputs" that two runs return alike, "training" names those
    that training changes even where nothing is dropped.

    Raises:
        CannotCompareError: the model's code raised.
    """
    backend = session.backend
    arrays = {name: v.astype("float64") if v.dtype.kind == "f" else v for name, v in Record(batch).items()}
    with session.in_dtype("float64") as model:

        def outputs(training: bool, masks: _Switched) -> dict[str, np.ndarray]:
            backend.set_training(model, training)
            try:
                with shared_dropout(backend, model, masks):
                    return {name: np.array(value) for name, value in run(backend, model, arrays).items()}
            finally:
                backend.set_training(model, False)

        evaluated, trained = _Switched(), _Switched()
        expected, kept = outputs(False, evaluated), outputs(True, trained)
        random = _differing(expected, outputs(False, evaluated))
        steady = [name for name in expected if name not in random]

        def reaches(module: str) -> bool:
            try:
                return bool(_differing(kept, outputs(True, _Switched(module, undefined=True))))
            except CannotCompareError:  # sampling from NaN, say
                return True

        quiet = [name for name in trained.asked if not _differing(kept, outputs(True, _Switched(name)))]
        silent = [name for name in quiet if not reaches(name)]
        return {
            "asked": list(trained.asked),
            "silent": silent,
            "saturated": [name for name in quiet if name not in silent],
            "unused": [name for name in _dropouts(backend, model) if not {name, _parent(name)} & trained.asked.keys()],
            "evaluation": list(evaluated.asked),
            "outputs": steady,
            "training": [name for name in _differing(expected, kept) if name in steady],
        }


def _dropouts(backend: Backend, model: Any) -> list[str]:
    """The Dropout modules with a probability above 0."""
    return [n for n, m in backend.modules(model) if "Dropout" in type(m).__name__ and getattr(m, "p", 0) > 0]


def _parent(module: str) -> str:
    return module.rpartition(".")[0] or ROOT


def _differing(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> list[str]:
    return [name for name in one if not np.array_equal(one[name], other[name], equal_nan=True)]
