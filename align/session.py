"""One backend at work on one model: build it, give it weights, record it, replay it.

A session is the same code for both frameworks and runs in a worker process or in the caller's own. Values stay in
files; what a session returns is small enough for a pipe.
"""

import dataclasses
import importlib
import json
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import convert
from align.backends import get_backend
from align.capture import ModelError, run
from align.dropout import SharedMasks, shared_dropout
from align.edges import ROOT
from align.engines import Engine
from align.engines.schedules import Schedule
from align.engines.spec import OptimizerSpec
from align.errors import CannotCompareError
from align.gradients import GradientRecord, GradientRecorder, GradientReplay, GradientSink
from align.mapping.links import Map
from align.record import Record, RecordWriter
from align.sinks import Recorder, Replay, Sink
from convert.live import config_class

Progress = Callable[[int], None]


class Session:
    """The operations a stage is made of. `framework` is the name of a backend."""

    def __init__(self, framework: str, progress: Progress = lambda _: None) -> None:
        self.backend = get_backend(framework)
        self.progress = progress
        self.model: Any = None
        self._make: Callable[[], Any]
        self._config: Mapping[str, Any] = {}
        self.weights: Callable[[], Iterable[tuple[str, np.ndarray]]] = tuple
        self._adopted = ("float32", False)
        self._tables: Mapping[str, np.ndarray] = {}  # of a live model: a way through float32 must not round them
        self._steps: Mapping[str, convert.Step] = {}  # how each of the model's tensors gets into the torch layout
        self.layout: Map | None = None  # the same for a foreign model, whose tensors need not correspond one to one
        self._holds: str | None = None  # the dtype in which the model holds its weights unchanged

    def adopt(self, model: Any) -> dict[str, Any]:
        """Work on a live model as it stands; what it was is kept so that `release` can restore it."""
        self.model = model
        kept = {name: self.backend.to_numpy(tensor).copy() for name, tensor in self.backend.parameters(model)}
        self.weights = kept.items
        self._tables = {name: self.backend.to_numpy(table).copy() for name, table in self.backend.tables(model)}
        floats = [value.dtype.name for value in kept.values() if value.dtype.kind == "f"]
        self._holds = None
        self._adopted = (floats[0] if floats else "float32", self.backend.is_training(model))
        return self._describe()

    def release(self) -> None:
        """Give an adopted model back with the dtype, weights and mode it came with."""
        dtype, training = self._adopted
        self._use(dtype)
        self.backend.set_training(self.model, training)

    def build(self, model: str, task_class: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Build `task_class` of the architecture `model` in float64, and describe it.

        Float hyper-parameters are rounded to float32 first, on both sides alike, because Paddle's kernels do so
        silently.
        """
        if self.backend.models is None:
            raise self.backend.lacks("registered architectures")
        with _written_by_the_user(f"{self.backend.models}/{model}.py"):
            module = importlib.import_module(f"{self.backend.models}.{model}")
        try:
            resolved = _round_floats(config_class(module).from_dict(config))
            self._make = partial(getattr(module, task_class), resolved)
            described = dataclasses.asdict(resolved)
            self._config = {**described, "architectures": [task_class]}
            with _written_by_the_user(f"{self.backend.models}/{model}.py"):
                self.model = self.fresh("float64")
        except ValueError as error:
            raise CannotCompareError(f"{task_class} refuses this configuration: {error}") from error
        return self._describe() | {"config": json.loads(json.dumps(described))}  # as a worker or a recording tells it

    def fresh(self, dtype: str = "float32") -> Any:
        """Another model like the one that was built, as it initialises itself."""
        with self._default_dtype(dtype):
            return self._make()

    def _describe(self) -> dict[str, Any]:
        return self.describe_parameters(self.model) | {
            "framework": self.backend.name,
            "version": self.backend.version(),
            "threads": self.backend.threads(),
            "kinds": self.describe_modules(),
        }

    def describe_modules(self) -> dict[str, Any]:
        """The class of every module with some of its settings."""
        return {name: _kind(module) for name, module in self.backend.modules(self.model)}

    def describe_parameters(self, model: Any) -> dict[str, Any]:
        """What a model has by name: shapes, the tensors of which one stands under several names, what is trained."""
        parameters = self.backend.parameters(model)
        first: dict[int, str] = {}
        tied = {name: first.setdefault(id(tensor), name) for name, tensor in parameters}
        return {
            "shapes": {name: tuple(tensor.shape) for name, tensor in parameters},
            "tied": {name: owner for name, owner in tied.items() if owner != name},
            "trainable": {name: self.backend.is_differentiable(tensor) for name, tensor in parameters},
        }

    def load(self, weights: str, model: str) -> list[str]:
        """Take the record `weights` (torch layout) as this model's weights; the problems found are returned, one line
        each.

        Weights that fit are used even when others do not, so that the verdict can name what the misfit does.
        """
        record = Record(weights)
        plan = convert.table(model, "torch", self.backend.name, self._config).plan(
            {name: record.entry(name).shape for name in record}
        )
        back = convert.table(model, self.backend.name, "torch", self._config).plan(plan.target_shapes)
        own = {name: tuple(tensor.shape) for name, tensor in self.backend.parameters(self.model)}
        self._steps = {step.source: step for step in reversed(back.steps)}  # a tied tensor goes by its first name
        self._holds = None
        fitting = {name for name, shape in plan.target_shapes.items() if own.get(name) == tuple(shape)}
        self.weights = lambda: (item for item in plan.convert(record.__getitem__) if item[0] in fitting)
        missing = [
            f"{name}: the {self.backend.name} model has no such parameter"
            for name in plan.target_shapes
            if name not in own
        ]
        extra = [
            f"{name}: only the {self.backend.name} model has this parameter"
            for name in own
            if name not in plan.target_shapes
        ]
        wrong = [
            f"{name}: shape {own[name]} in the {self.backend.name} model, {tuple(shape)} in the weights"
            for name, shape in plan.target_shapes.items()
            if name in own and own[name] != tuple(shape)
        ]
        return missing + extra + wrong

    def take(self, weights: Callable[[], Iterable[tuple[str, np.ndarray]]], layout: Map | None = None) -> None:
        """Work with these weights from now on, in this model's own names; tensors that they do not name stay.

        `layout` says what they are in torch's.
        """
        self.weights, self.layout, self._holds = weights, layout, None

    def export(self, out: str) -> None:
        """Write this session's weights, as they were given, to the record `out`."""
        with RecordWriter(out) as writer:
            for name, value in self.weights():
                writer.add(name, value)

    def record(
        self,
        batch: str,
        dtype: str,
        out: str,
        *,
        training: Mapping[str, Any] | None = None,
        gradients: str | None = None,
    ) -> dict[str, Any]:
        """Record every edge of one forward pass on the batch in file `batch` into the file `out`.

        With `training`, keyword arguments of `SharedMasks`, the model is in training mode and drops what these masks
        say. With the file `gradients` a backward pass follows, and every gradient is written there.
        """
        with RecordWriter(out) as writer, _writer(gradients) as behind:
            back = GradientRecorder(behind) if behind else None
            return self._forward(batch, dtype, Recorder(writer), back, training=training)

    def replay(
        self,
        batch: str,
        dtype: str,
        reference: str,
        *,
        native: list[str] = [],  # noqa: B006 — read only
        constants: int = 0,
        masks: bool = False,
        perturb: int | None = None,
        keep: list[str] = [],  # noqa: B006 — read only
        out: str | None = None,
        training: Mapping[str, Any] | None = None,
        gradients: str | None = None,
        keep_gradients: list[str] = [],  # noqa: B006 — read only
        gradients_out: str | None = None,
    ) -> dict[str, Any]:
        """Run on the reference record's own inputs and return every edge's `Difference` (see `sinks.Replay`).

        `perturb` seeds a run in which all substitutes and all weights are changed by one unit in the last place. The
        model's own values at the edges named in `keep` are written to the file `out`. With `gradients`, the reference's
        record of them, a backward pass follows (see `gradients.GradientReplay`), and the model's own gradients of what
        `keep_gradients` names are written to the file `gradients_out`.
        """
        noise = None if perturb is None else ulp_noise(perturb, dtype)
        values, back = Record(reference), None
        with _writer(out) as kept, _writer(gradients_out) as kept_behind:
            if gradients:
                asked = frozenset(keep_gradients)
                back = GradientReplay(GradientRecord(gradients), values, noise, asked, kept_behind)
            sink = Replay(values, constants, masks, noise, frozenset(keep), kept)
            facts = self._forward(batch, dtype, sink, back, frozenset(native), noise, training)
        skipped = frozenset(native)
        return (
            facts
            | _gradient_facts(back)
            | {
                "differences": {edge: d.as_json() for edge, d in sink.differences.items()},
                "callers": sink.callers,
                "own_constants": sink.own_constants,
                "own_masks": sink.own_masks,
                "unexpected": sink.unexpected,
                "stops": sink.stops,
                "missing": [e for e in sink.missing if e.partition(":")[0].partition("@")[0] not in skipped],
            }
        )

    def _forward(
        self,
        batch: str,
        dtype: str,
        sink: Sink,
        gradients: GradientSink | None = None,
        native: frozenset[str] = frozenset(),
        noise: Callable[[np.ndarray], np.ndarray] | None = None,
        training: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        started = time.perf_counter()
        self._use(dtype, noise)
        error = None
        self.backend.set_training(self.model, training is not None)
        try:
            inputs = {name: v.astype(dtype) if v.dtype.kind == "f" else v for name, v in Record(batch).items()}
            with self._default_dtype(dtype), self._dropout(training):
                self.backend.clear_gradients(self.model)
                done = iter(range(1, 1 << 62))
                run(
                    self.backend,
                    self.model,
                    inputs,
                    sink,
                    gradients=gradients,
                    native=native,
                    progress=lambda: self.progress(next(done)),
                )
                if gradients:
                    self._pass_parameters(gradients)
        except ModelError as failure:
            error = {"module": failure.module, "message": str(failure)}
        return {"seconds": time.perf_counter() - started, "error": error}

    def data(self) -> Any:
        """This side's way from text to batches (see `align.batching.Pipeline`)."""
        return self.backend.pipeline()

    def metrics(self, task: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Fresh metrics by name, with which this side scores its predictions (see `align.metrics`)."""
        from align.metrics import metrics_of  # imports for a second, and only one operation needs it

        return metrics_of(task, config)

    def _dropout(self, masks: Mapping[str, Any] | None) -> AbstractContextManager[None]:
        return nullcontext() if masks is None else shared_dropout(self.backend, self.model, SharedMasks(**masks))

    def _pass_parameters(self, gradients: GradientSink) -> None:
        """Show the gradient of every parameter in the torch layout, tied ones once under their first name."""
        owned = self.owned().items()
        found = {n: self.backend.gradient(t) for n, t in owned if self.backend.is_differentiable(t)}
        for name, gradient in self.in_torch_layout(found):
            gradients.pass_parameter(name, gradient)

    def owned(self) -> dict[str, Any]:
        """The tensors of the state dict, each under its first name."""
        first: dict[int, str] = {}
        parameters = self.backend.parameters(self.model)
        return {name: tensor for name, tensor in parameters if first.setdefault(id(tensor), name) == name}

    def in_torch_layout(self, arrays: Mapping[str, np.ndarray | None]) -> Iterator[tuple[str, np.ndarray | None]]:
        """Arrays that belong to tensors of this model, under torch's names and in torch's layout."""
        if self.layout is not None:
            yield from self.layout.to_torch(arrays)
            return
        for name, array in arrays.items():
            torch_name, view = self.to_torch(name)
            yield torch_name, None if array is None else view(array)

    def to_torch(self, name: str) -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
        """The torch name of one of this model's tensors, and the function from its layout to torch's.

        That leaves arrays of another rank as they are: a step counter, the row of a factored state.
        Where no table of a registered architecture says otherwise, the weight of a Linear is what differs.
        """
        if self.layout is not None:
            return self.layout.view(name)
        if name in self._steps:
            step = self._steps[name]
            op, rank = step.rule.op, len(step.rule.op.inverse().shape(step.shape))
            return step.target, lambda array: op.view(array) if array.ndim == rank else array
        module, _, leaf = name.rpartition(".")
        owner = dict(self.backend.modules(self.model)).get(module or ROOT)
        transposed = leaf == "weight" and owner is not None and self.backend.is_transposed(owner)
        return name, np.transpose if transposed else np.asarray

    def make_engine(self, spec: OptimizerSpec) -> Engine:
        """What trains this model, as it stands now, by one optimizer; the weights it was given come back with the next
        `in_dtype`.
        """
        self._holds = None
        trainable = {name: tensor for name, tensor in self.owned().items() if self.backend.is_differentiable(tensor)}
        return self.backend.engine(trainable, spec)

    def make_schedule(self, schedule: Schedule, lr: float) -> Callable[[int], float]:
        """The learning rate of each update, by its number from 0 on."""
        return partial(schedule, lr)

    @contextmanager
    def in_dtype(self, dtype: str, perturb: int | None = None) -> Iterator[Any]:
        """The model in `dtype` with the weights it was given and dropout off, for what an operation does with it.

        `perturb` seeds a change of every weight by one unit in the last place.
        """
        self._use(dtype, None if perturb is None else ulp_noise(perturb, dtype))
        with self._default_dtype(dtype):
            yield self.model

    @contextmanager
    def _default_dtype(self, dtype: str) -> Iterator[None]:
        before = self.backend.default_dtype(dtype)
        try:
            yield
        finally:
            self.backend.default_dtype(before)

    def _use(self, dtype: str, noise: Callable[[np.ndarray], np.ndarray] | None = None) -> None:
        """Put the model in `dtype` with the weights it was given, changed by `noise` if there is one."""
        if noise is None and self._holds == dtype:
            return
        self.backend.cast(self.model, dtype)
        for name, table in self.backend.tables(self.model) if self._tables else ():
            due, held = self._tables.get(name), self.backend.to_numpy(table)
            if due is None or due.shape != held.shape:  # no table: what the model kept of its last batch
                continue
            if not np.array_equal(held, due.astype(dtype)):
                self.backend.set_value(table, due.astype(dtype))
        tensors = dict(self.backend.parameters(self.model))
        try:
            for name, value in self.weights():
                exact = value.astype(dtype) if value.dtype.kind == "f" else value
                changed = exact if noise is None or value.dtype.kind != "f" else noise(exact)
                self.backend.set_value(tensors[name], changed)
        except convert.ConvertError as error:
            raise CannotCompareError(" ".join(str(error).split())) from error
        self._holds = dtype if noise is None else None


@contextmanager
def _written_by_the_user(file: str) -> Iterator[None]:
    """A model file that cannot be imported or built, as one that is being written, is refused with the line of it."""
    try:
        yield
    except (ValueError, ImportError, CannotCompareError):
        raise
    except SyntaxError as error:
        raise CannotCompareError(f"{file} line {error.lineno}: {error.msg}: {(error.text or '').strip()}") from error
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).as_posix().endswith(file)]
        where = f"{file} line {frames[-1].lineno}" if frames else file
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise CannotCompareError(f"{where}: {what[:300]}{': ' + str(frames[-1].line) if frames else ''}") from error


def _writer(path: str | None) -> AbstractContextManager[RecordWriter | None]:
    return RecordWriter(path) if path else nullcontext()


def _gradient_facts(replay: GradientReplay | None) -> dict[str, Any]:
    if replay is None:
        return {}
    replay.finish()
    return {
        "gradients": {name: d.as_json() for name, d in replay.differences.items()},
        "absent": replay.absent,
        "leaks": replay.unexpected,
    }


def _kind(module: Any) -> dict[str, Any]:
    """The class of a module and those of its hyper-parameters that a probe may be blind to."""
    facts = {key: getattr(module, key, None) for key in ("eps", "approximate", "p")}
    return {"class": type(module).__name__} | {k: v for k, v in facts.items() if isinstance(v, (int, float, str))}


def ulp_noise(seed: int, dtype: str) -> Callable[[np.ndarray], np.ndarray]:
    """Multiply by 1 ± 2⁻⁵² (float64) or 1 ± 2⁻²³ (float32), the sign at random; what is finite stays so.

    The largest finite number is a common mask: one that became infinite would make a fully masked softmax undefined.
    """
    generator = np.random.default_rng(seed)
    unit = np.finfo(dtype).eps
    factors = np.array([1 - unit, 1 + unit], dtype)

    def change(array: np.ndarray) -> np.ndarray:
        octets = np.frombuffer(generator.bytes(-(-array.size // 8)), np.uint8)
        with np.errstate(over="ignore"):
            changed = array * factors[np.unpackbits(octets, count=array.size).reshape(array.shape)]
        return np.where(np.isinf(changed), array * factors[0], changed)

    return change


def _round_floats(config: Any) -> Any:
    rounded = {
        field.name: float(np.float32(value))
        for field in dataclasses.fields(config)
        if isinstance(value := getattr(config, field.name), float)
    }
    return dataclasses.replace(config, **rounded)
