"""Training on one side, watched: what the training stage compares of both."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from align.capture import ModelError
from align.dropout import SharedMasks, shared_dropout
from align.edges import ROOT
from align.engines import Engine
from align.engines.schedules import Schedule
from align.engines.spec import OptimizerSpec
from align.errors import CannotCompareError
from align.record import Record, RecordWriter
from align.session import Session, ulp_noise
from align.training import Iteration, Micro, train
from align.training.sketch import NUMBERS, sketch
from align.training.tracks import SCALARS


def run(
    session: Session,
    updates: Sequence[Sequence[tuple[str, float]]],
    optimizer: Mapping[str, Any],
    schedule: Mapping[str, Any],
    dtype: str,
    out: str,
    dropout: float = 0.0,
    common: Sequence[str] | None = None,
    seed: int = 0,
    perturb: int | None = None,
) -> dict[str, Any]:
    """Train from the weights that the session was given and write what happened to the record `out`.

    `updates` are lists of (batch file, share of the loss). Dropout has probability `dropout` wherever the model has
    any, with masks that both sides share; `common` are the modules that both have. Half way the optimizer is saved,
    made anew and resumed. `perturb` seeds a control: see `_Disturbance`.

    The record holds, with T updates and P parameters, "loss", "gradient norm" and "learning rate" (T,), the largest
    rate in use; "gradients" and "weights" (T, P, 4), sketches before clipping and after the update, and their norms
    "gradient sizes" and "weight sizes" (T, P). Returns the names of the parameters, in torch's words.
    """
    backend, spec = session.backend, OptimizerSpec(**optimizer)
    masks = SharedMasks(seed, dropout, common)
    with session.in_dtype(dtype, perturb) as model, shared_dropout(backend, model, masks):
        backend.set_training(model, True)
        backend.clear_gradients(model)
        passes = iter(range(1 << 62))

        def loss(batch: Mapping[str, np.ndarray]) -> Any:
            masks.start(next(passes))
            try:
                outputs = backend.forward(model, batch)
            except Exception as error:
                raise CannotCompareError(f"the {backend.name} model raised: {ModelError(ROOT, error)}") from error
            return outputs["loss"]

        engine = session.make_engine(spec)
        rate = session.make_schedule(Schedule(**schedule), spec.lr)
        watch = _Watch(session, engine, None if perturb is None else _Disturbance(perturb, dtype))
        todo = iter([[Micro(_read(path, dtype), share) for path, share in update] for update in updates])
        half = len(updates) // 2
        for iteration in train(engine, loss, islice(todo, half), rate, gathered=watch.gather):
            watch.updated(iteration)
        state = engine.state()
        watch.engine = engine = session.make_engine(spec)
        engine.load_state(state)
        for iteration in train(engine, loss, todo, rate, first=half, gathered=watch.gather):
            watch.updated(iteration)
        backend.set_training(model, False)
    with RecordWriter(out) as writer:
        for name, values in watch.columns.items():
            writer.add(name, np.array(values, np.float64))
    return {"parameters": list(watch.names.values())}


def _read(path: str, dtype: str) -> dict[str, np.ndarray]:
    return {name: v.astype(dtype) if v.dtype.kind == "f" else np.array(v) for name, v in Record(path).items()}


class _Disturbance:
    """The rounding that a control adds to an update.

    Every gradient that is not zero is moved by the roundoff of the largest in its parameter, at random: a small one is
    what is left of larger ones, and Adam gives it a step as large as theirs. Every weight is changed by one unit in the
    last place, as it was before the first update. And every
    update is scaled by 1 ± u/(1 − β₂ᵗ), with one sign for the whole run: what an Adam loses that computes its bias
    correction in the working precision, as Paddle does and PyTorch does not.
    """

    def __init__(self, seed: int, dtype: str) -> None:
        self._noise = ulp_noise(seed, dtype)
        self._signs = np.random.default_rng(seed)
        self._roundoff = float(np.finfo(dtype).eps) / 2
        self._scale = (-1) ** seed * self._roundoff
        self._updates = 0
        self.before: dict[str, np.ndarray] = {}

    def gradients(self, gradients: Mapping[str, np.ndarray | None]) -> dict[str, np.ndarray | None]:
        """The gradients to go on with."""
        return {name: None if g is None else self._moved(g) for name, g in gradients.items()}

    def _moved(self, gradient: np.ndarray) -> np.ndarray:
        largest = np.abs(gradient).max(initial=0)
        signs = 2 * self._signs.integers(2, size=gradient.shape) - 1
        return np.where(gradient, gradient + gradient.dtype.type(self._roundoff * largest) * signs, gradient)

    def after(self, spec: OptimizerSpec, weights: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        """The weights to go on with."""
        self._updates += 1
        extra = self._scale / (1 - spec.betas[1] ** self._updates) if spec.bias_correction else 0.0
        for name, value in weights.items():
            yield name, self._noise(value + value.dtype.type(extra) * (value - self.before[name]))


class _Watch:
    """Takes sketches of all gradients and weights as training goes on."""

    def __init__(self, session: Session, engine: Engine, disturbance: "_Disturbance | None") -> None:
        self.engine = engine
        self._session = session
        self._disturbance = disturbance
        self._views = {name: session.to_torch(name) for name in engine.parameters}
        self.names = {name: torch_name for name, (torch_name, _) in self._views.items()}
        columns = (*SCALARS, "gradients", "gradient sizes", "weights", "weight sizes")
        self.columns: dict[str, list[Any]] = {column: [] for column in columns}

    def gather(self, number: int) -> None:
        """Look at the gradients, before they are clipped; then disturb them, if this is a control."""
        gradients = self.engine.gradients()
        self._sketch("gradients", "gradient sizes", gradients)
        if self._disturbance:
            self.engine.set_gradients(self._disturbance.gradients(gradients))
            self._disturbance.before = self._weights()

    def updated(self, iteration: Iteration) -> None:
        """Look at everything else, after the update; then disturb the weights, if this is a control."""
        self._sketch("weights", "weight sizes", self._weights())
        rate = max(self.engine.learning_rates().values(), default=0.0)
        for column, value in zip(SCALARS, (iteration.loss, iteration.gradient_norm, rate), strict=True):
            self.columns[column].append(value)
        self._session.progress(iteration.number + 1)
        if self._disturbance:
            for name, disturbed in self._disturbance.after(self.engine.spec, self._weights()):
                self._session.backend.set_value(self.engine.parameters[name], disturbed)

    def _weights(self) -> dict[str, np.ndarray]:
        return {name: self._session.backend.to_numpy(p).copy() for name, p in self.engine.parameters.items()}

    def _sketch(self, column: str, sizes: str, arrays: Mapping[str, np.ndarray | None]) -> None:
        nothing = np.zeros(NUMBERS)
        turned = {name: None if a is None else self._views[name][1](a) for name, a in arrays.items()}
        self.columns[column].append([nothing if a is None else sketch(a) for a in turned.values()])
        self.columns[sizes].append([0.0 if a is None else float(np.linalg.norm(a)) for a in turned.values()])
