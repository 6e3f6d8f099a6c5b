"""What the harness needs of a framework: one class, in one file, and no file elsewhere knows the framework.

A module is whatever `Backend.modules` yields: an object whose attributes can be set, and whose calls go through one of
its methods. A tensor is whatever `Backend.is_tensor` says is one: opaque, but for its `shape`. Values cross as NumPy
arrays, in float64 or float32; ids and masks as int64 or bool.

What is abstract every comparison needs. What follows has defaults for a framework that is like PyTorch there, or needs
nothing. The last group are abilities that single stages ask for: a framework that lacks one leaves it out, and the
stage refuses with what it lacks (CannotCompareError; it is never taken for a difference).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from align.errors import CannotCompareError

if TYPE_CHECKING:  # they stand on this file
    from align.batching import Pipeline
    from align.dropout import SharedMasks
    from align.engines import Engine
    from align.engines.schedules import Schedule
    from align.engines.spec import OptimizerSpec

Function = Callable[..., Any]


class Backend(ABC):
    """One framework.

    `name` is what reports call it. The classes of its modules derive from one that is defined in `package`, by which a
    live module's backend is found. `models` is the package that holds registered architectures (`MODELS.NAME`, with the
    layout `name` in `convert.layouts`); None: there are none, and only live modules can be compared. `method` is the
    method of a module that a call of it goes through. `words` are torch's words for attributes of modules that are
    called otherwise here, without leading underscores (`{"epsilon": "eps"}`), so that a report can say which differs.
    """

    name: str
    package: str = ""  # its name, where nothing else is said
    models: str | None = None
    method: str = "forward"
    words: ClassVar[Mapping[str, str]] = {}

    # What every comparison needs.

    @abstractmethod
    def version(self) -> str:
        """The framework's version, for the report."""

    @abstractmethod
    def modules(self, model: Any) -> Iterator[tuple[str, Any]]:
        """Every distinct module with its dotted name, in the order of registration, the model itself first as
        `<root>` (`align.edges.ROOT`).
        """

    @abstractmethod
    def parameters(self, model: Any) -> list[tuple[str, Any]]:
        """Every name of the state dict (parameters and saved buffers, MODULE.LEAF) with its tensor, the live one; a
        tied tensor stands under each of its names.
        """

    @abstractmethod
    def cast(self, model: Any, dtype: str) -> None:
        """Convert all floating parameters and buffers to "float64" or "float32" in place: `parameters` still gives the
        same names. Integers stay.
        """

    @abstractmethod
    def default_dtype(self, dtype: str) -> str:
        """Make `dtype` that of new parameters and constants; returns the one before."""

    @abstractmethod
    def set_training(self, model: Any, training: bool) -> None:
        """Put the model and all modules in it in training or evaluation mode."""

    @abstractmethod
    def forward(self, model: Any, batch: Mapping[str, np.ndarray]) -> Any:
        """Call the model with the arrays as tensors, by keyword, so that gradients could be taken afterwards.

        The model returns a tensor, or mappings, sequences and dataclasses of tensors. What it raises passes.
        """

    @abstractmethod
    def is_tensor(self, value: Any) -> bool:
        """Whether `value` is a tensor of this framework."""

    @abstractmethod
    def is_module(self, value: Any) -> bool:
        """Whether `value` is a module of this framework."""

    @abstractmethod
    def is_differentiable(self, tensor: Any) -> bool:
        """Whether a gradient would reach what the tensor was made from; of a parameter, whether it is trained.

        This also tells values from constants (masks, tables), which are judged by their effect alone: a framework
        without gradients has to say which tensors depend on parameters.
        """

    @abstractmethod
    def to_numpy(self, tensor: Any) -> np.ndarray:
        """The tensor's values; may share its memory, so read before the model goes on."""

    @abstractmethod
    def set_value(self, tensor: Any, value: np.ndarray) -> None:
        """Copy `value`, of the same shape, into `tensor`, in the tensor's own dtype."""

    @abstractmethod
    def tap(self, tensor: Any, substitute: np.ndarray | None, differentiable: bool) -> tuple[Any, Any]:
        """A leaf with the value of `tensor` or with `substitute`, cut from the graph before it, and the tensor that
        goes on in place of `tensor`; gradients of that gather at the leaf. Unless `differentiable`, and for integers,
        both are one tensor without a gradient.
        """

    # What a framework like PyTorch can leave as it is.

    def is_training(self, model: Any) -> bool:
        """The mode that the model is in, to which it is given back."""
        return bool(model.training)

    def is_transposed(self, module: Any) -> bool:
        """Whether the module's `weight` (inputs, outputs) is the transpose of torch's."""
        return False

    def tables(self, model: Any) -> Iterator[tuple[str, Any]]:
        """The float tensors of a model that its state dict does not name: tables that it has computed for itself."""
        return iter(())

    def version_of(self, tensor: Any) -> int:
        """How often the tensor has been changed in place; 0 where no tensor can be."""
        return 0

    def threads(self) -> int:
        """How many threads compute, for the report."""
        return 1

    def edge(self, name: str) -> str | None:
        """What sinks are to call the edge `name` of this side's model; None if they are not to see it."""
        return name

    def function(self, module: Any) -> Function:
        """The function that a call of the module runs. Its signature numbers the edges that enter the module."""
        return getattr(module, self.method)

    @contextmanager
    def intercepted(self, module: Any, make: Callable[[Function], Function]) -> Iterator[None]:
        """While the context lasts, calls of the module run what `make` has made of its own function; afterwards the
        module is exactly as before. Contexts may nest on one module.
        """
        held, own = vars(module), vars(module).get(self.method)
        held[self.method] = make(self.function(module))
        try:
            yield
        finally:
            if own is None:
                del held[self.method]
            else:
                held[self.method] = own

    def widened(self) -> AbstractContextManager[None]:
        """While the context lasts, code that asks for float32 is given float64 (see `align.widening`)."""
        return nullcontext()

    # What single stages ask for.

    def seed(self, seed: int) -> None:
        """Start the framework's random numbers anew. The stages init and invariance ask for it, and targets that
        `python -m align compare` builds.
        """
        raise self.lacks("random numbers of its own")

    def gradient(self, leaf: Any) -> np.ndarray | None:
        """What has gathered at a leaf of `tap` or a parameter, in its dtype; None if nothing came."""
        raise self.lacks("gradients")

    def backward(self, tensor: Any, gradient: np.ndarray) -> None:
        """Send a gradient from `tensor` back to the leaves that it was made from; may be done again."""
        raise self.lacks("gradients")

    def clear_gradients(self, model: Any) -> None:  # noqa: B027 — where there are none, none are left
        """Leave no gradient at any parameter, not even zeros."""

    def dropped(self, masks: "SharedMasks") -> AbstractContextManager[None]:
        """While the context lasts, the framework's functions with dropout take their masks from `masks` (see
        `align.dropout`). Backward, training and invariance ask for it.
        """
        raise self.lacks("dropout on given masks")

    def engine(self, parameters: Mapping[str, Any], spec: "OptimizerSpec") -> "Engine":
        """What trains the named tensors by one optimizer (see `align.engines`). Optimizer and training ask for it."""
        raise self.lacks("optimizers")

    def native_rates(self, schedule: "Schedule", lr: float) -> list[float]:
        """The learning rate of every update as the framework's own scheduler classes have it. Optimizer asks for it."""
        raise self.lacks("schedulers")

    def pipeline(self) -> "Pipeline":
        """The framework's way from text to batches (see `align.batching`). Data asks for it."""
        raise self.lacks("loaders of data")

    def lacks(self, what: str) -> CannotCompareError:
        """The refusal of a stage that needs what this backend leaves out."""
        return CannotCompareError(
            f"the {self.name} backend has no {what}, which this stage needs: leave the stage out, or add it to "
            f"{type(self).__module__} (docs/backends.md says how)"
        )
