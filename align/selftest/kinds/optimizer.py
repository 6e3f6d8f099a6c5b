"""Bugs in optimizers, clipping and schedules. They stand in the engine or the schedule that a session makes."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from align.engines import Engine, reference
from align.engines.reference import NONE, Quirks
from align.engines.schedules import Schedule
from align.engines.spec import NOT_DECAYED, OptimizerSpec, decays, depths, groups, preset
from align.selftest.mutation import Mutation
from align.selftest.site import Site
from align.session import Session

Apply = Callable[[Session], None]


def mutations(site: Site) -> list[Mutation]:
    """Every kind that changes something for the names of this model's parameters."""
    names = [name for name in site.shapes if name not in site.tied]
    found = []
    for kind, name, optimizer, quantity, bug, explained in _KINDS:
        if isinstance(bug, Changed | Partial) and not bug.matters(preset(optimizer), names):
            continue
        apply = bug.within(preset(optimizer)) if isinstance(bug, Changed | Partial) else bug
        blamed = quantity if quantity.startswith("schedule") else f"{optimizer}: {quantity}"
        found.append(Mutation(kind, name, "optimizer", blamed, apply, explained, options={"optimizer": optimizer}))
    return found


class Changed:
    """The engine is made from another specification than it was given."""

    def __init__(self, **changes: Any) -> None:
        self._changes = changes

    def within(self, spec: OptimizerSpec) -> Apply:
        """The bug, where this algorithm is asked for."""

        def change(asked: OptimizerSpec) -> OptimizerSpec:
            return replace(asked, **self._changes) if asked.name == spec.name else asked

        return lambda session: _wrap(session, lambda make: lambda asked: make(change(asked)))

    def matters(self, spec: OptimizerSpec, names: list[str]) -> bool:
        """Whether it changes more than words: a filter may leave the same names out in other ways."""
        other = replace(spec, **self._changes)
        return replace(other, no_decay=spec.no_decay) != spec or groups(spec, names) != groups(other, names)


class Partial:
    """A bug that touches some parameters only, by their names."""

    def __init__(self, apply: Apply, concerns: Callable[[str], bool]) -> None:
        self._apply, self._concerns = apply, concerns

    def within(self, spec: OptimizerSpec) -> Apply:
        """The bug, whatever is asked for."""
        return self._apply

    def matters(self, spec: OptimizerSpec, names: list[str]) -> bool:
        """Whether there is such a parameter: GAU-α, say, has no biases."""
        return any(map(self._concerns, names))


def _wrap(session: Session, change: Callable[[Any], Callable[[OptimizerSpec], Any]]) -> None:
    session.make_engine = change(session.make_engine)  # type: ignore


class _Altered:
    """An engine with methods of its own; all else is the sound one's."""

    def __init__(self, engine: Engine, session: Session) -> None:
        self.engine = engine
        self.session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


def _with(kind: type[_Altered]) -> Apply:
    return lambda session: _wrap(session, lambda make: lambda spec: kind(make(spec), session))


def _quirk(quirks: Quirks, concerns: Callable[[str], bool] = lambda _: True) -> Apply:
    """Updates are computed by the oracle, with a quirk for some parameters."""

    class Quirky(_Altered):
        def step(self, lr: float) -> None:
            engine = self.engine
            gradients = engine.gradients()
            if all(g is None for g in gradients.values()):  # only the learning rate is asked for
                engine.step(lr)
                return
            before = {n: np.array(self.session.backend.to_numpy(p)) for n, p in engine.parameters.items()}
            state = engine.state()
            engine.step(lr)
            rates = engine.learning_rates()
            decay = {n: group.weight_decay for group in groups(engine.spec, list(before)) for n in group.names}
            made: dict[str, Any] = {}
            for name, value in before.items():
                p, after = reference.update(
                    engine.spec,
                    value,
                    gradients[name],
                    state.get(name, {}),
                    rates[name],
                    decay[name],
                    quirks if concerns(name) else NONE,
                )
                self.session.backend.set_value(engine.parameters[name], p)
                if after:
                    made[name] = {key: np.asarray(entry) for key, entry in after.items()}
            engine.load_state(made)

    return _with(Quirky)


class _NoneAsZero(_Altered):
    def set_gradients(self, gradients: Mapping[str, np.ndarray | None]) -> None:
        backend = self.session.backend
        zeros = {n: np.zeros_like(backend.to_numpy(self.engine.parameters[n])) for n in gradients}
        self.engine.set_gradients({n: zeros[n] if g is None else g for n, g in gradients.items()})


def _clipping(clip: Callable[[dict[str, np.ndarray], float], dict[str, np.ndarray]]) -> Apply:
    """Another way of clipping, from all gradients that there are and the clipping norm."""

    class Clipping(_Altered):
        def clip(self) -> float:
            found = {name: g for name, g in self.engine.gradients().items() if g is not None}
            limit = self.engine.spec.clip_norm
            assert limit is not None
            self.engine.set_gradients(clip(found, limit))
            return _norm(found)

    return _with(Clipping)


def _norm(gradients: Mapping[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(float(np.vdot(g, g)) for g in gradients.values())))


def _scaled(gradients: Mapping[str, np.ndarray], limit: float, eps: float = 1e-6) -> dict[str, np.ndarray]:
    factor = min(1.0, limit / (_norm(gradients) + eps)) if gradients else 1.0
    return {name: factor * g for name, g in gradients.items()}


def _each(gradients: dict[str, np.ndarray], limit: float) -> dict[str, np.ndarray]:
    return {name: _scaled({name: g}, limit)[name] for name, g in gradients.items()}


def _is_norm(name: str) -> bool:
    return bool(re.search("norm", name, re.IGNORECASE))


def _is_bias(name: str) -> bool:
    return name.endswith("bias")


def _is_spared(name: str) -> bool:
    """From weight decay, that is."""
    return not decays(preset("adamw"), name)


def _not_norms(gradients: dict[str, np.ndarray], limit: float) -> dict[str, np.ndarray]:
    return gradients | _scaled({name: g for name, g in gradients.items() if not _is_norm(name)}, limit)


def _before_unscaling(gradients: dict[str, np.ndarray], limit: float) -> dict[str, np.ndarray]:
    loss_scale = 65536.0
    clipped = _scaled({name: g * loss_scale for name, g in gradients.items()}, limit)
    return {name: g / loss_scale for name, g in clipped.items()}


class _DoubleRate(_Altered):
    def step(self, lr: float) -> None:
        self.engine.step(2 * lr)


class _LateRate(_Altered):
    before: float | None = None

    def step(self, lr: float) -> None:
        self.engine.step(lr if self.before is None else self.before)
        self.before = lr


class _TooDeep(_Altered):
    """ELECTRA's own: the head's depth is n + 2, the last layer's n."""

    def __init__(self, engine: Any, session: Session) -> None:
        super().__init__(engine, session)
        depth = depths(list(engine.parameters))
        head = max(depth.values())
        engine._groups = [
            replace(group, factor=group.factor * (1 if depth[group.names[0]] == head else engine.spec.layer_decay))
            for group in engine._groups
        ]


class _ResumedByPosition(_Altered):
    """The state of each parameter goes to the next of its shape."""

    def load_state(self, state: Mapping[str, Any]) -> None:
        shapes: dict[tuple[int, ...], list[str]] = {}
        for name in state:
            shape = self.session.backend.to_numpy(self.engine.parameters[name]).shape
            shapes.setdefault(shape, []).append(name)
        moved = {
            there: here for names in shapes.values() for here, there in zip(names, names[1:] + names[:1], strict=True)
        }
        self.engine.load_state({there: state[here] for there, here in moved.items()})


def _schedule(change: Callable[[Schedule, float, int], float]) -> Apply:
    """Another learning rate for an update: from the schedule, the base rate, and the update's number."""

    def apply(session: Session) -> None:
        session.make_schedule = lambda schedule, lr: lambda k: change(schedule, lr, k)  # type: ignore

    return apply


def _ends_at(schedule: Schedule, lr: float, k: int) -> float:
    """Paddle's PolynomialDecay, whose end is 1e-4 unless it is told otherwise."""
    if schedule.name != "linear" or schedule.composed:
        return schedule(lr, k)
    return replace(schedule, name="polynomial", end=1e-4 / lr)(lr, k)


_INVERTED = (rf"^(?!.*(?:{'|'.join(NOT_DECAYED)}))",)

# (kind, name, optimizer, quantity that is wrong first, bug, what the explanation says)
_KINDS: tuple[tuple[str, str, str, str, Changed | Partial | Apply, str], ...] = (
    ("OP01", "case_of_letters", "adamw", "parameters", Changed(no_decay=("(?-i:bias)", "(?-i:norm)")), "weight decay"),
    ("OP01", "norms", "adamw", "parameters", Changed(no_decay=("bias",)), "weight decay"),
    ("OP01", "biases", "adamw", "parameters", Changed(no_decay=("norm",)), "weight decay"),
    ("OP01", "biases_momentum", "momentum", "momentum_buffer", Changed(no_decay=("norm",)), "weight decay"),
    ("OP02", "everything", "adamw", "parameters", Changed(no_decay=()), "every parameter"),
    ("OP02", "nothing", "adamw", "parameters", Changed(no_decay=("",)), "no parameter"),
    (
        "OP03",
        "inverted",
        "adamw",
        "parameters",
        Partial(Changed(no_decay=_INVERTED).within(preset("adamw")), _is_spared),  # without any, it is OP02
        "exactly the parameters",
    ),
    ("OP04", "coupled", "adamw", "exp_avg", Changed(name="adam"), "L2"),
    ("OP04", "decoupled", "adam-l2", "exp_avg", Changed(name="adamw"), "decoupled"),
    ("OP05", "adamw", "adamw", "parameters", Changed(eps=1e-6), "ε is 1e-06 instead of 1e-08"),
    ("OP05", "electra", "electra", "parameters", Changed(eps=1e-8), "ε is 1e-08 instead of 1e-06"),
    ("OP06", "adamw", "adamw", "parameters", _quirk(Quirks(eps_before_correction=True)), "before bias correction"),
    ("OP06", "nadam", "nadam", "parameters", _quirk(Quirks(eps_before_correction=True)), "before bias correction"),
    ("OP07", "rmsprop", "rmsprop", "parameters", _quirk(Quirks(eps_inside_root=True)), "inside the root"),
    ("OP07", "adam", "adam", "parameters", _quirk(Quirks(eps_inside_root=True)), "inside the root"),
    ("OP07", "adagrad", "adagrad", "parameters", _quirk(Quirks(eps_inside_root=True)), "inside the root"),
    ("OP08", "adamw", "adamw", "parameters", Changed(bias_correction=False), "no bias correction"),
    ("OP08", "electra", "electra", "parameters", Changed(bias_correction=True), "should be none"),
    ("OP08", "lamb", "lamb", "parameters", _quirk(Quirks(uncorrected=True)), "no bias correction"),
    ("OP09", "adamw", "adamw", "parameters", _quirk(Quirks(decay_after=True)), "follows the update"),
    ("OP11", "missing", "adamw", "clip", Changed(clip_norm=None), "not clipped"),
    ("OP11", "per_tensor", "adamw", "clip", _clipping(_each), "by its own norm"),
    (
        "OP11",
        "by_value",
        "sgd",
        "clip",
        _clipping(lambda found, limit: {name: g.clip(-limit, limit) for name, g in found.items()}),
        "by value",
    ),
    ("OP11", "not_norms", "sgd", "clip", Partial(_clipping(_not_norms), _is_norm), "leaves out"),
    ("OP11", "other_norm", "lamb", "clip", Changed(clip_norm=5.0), "to 5 instead of 1"),
    ("OP12", "no_eps", "adamw", "clip", _clipping(lambda found, limit: _scaled(found, limit, 0.0)), "without 1e-6"),
    ("OP12", "twice", "adamw", "clip", _clipping(lambda found, limit: _scaled(_scaled(found, limit), limit)), "twice"),
    ("OP13", "before_unscaling", "sgd", "clip", _clipping(_before_unscaling), "clipped to"),
    ("OP14", "zeros_given", "adamw", "clip", _with(_NoneAsZero), "missing gradient"),
    ("OP14", "zeros_taken", "momentum", "momentum_buffer", _quirk(Quirks(none_as_zero=True)), "missing gradient"),
    ("OP14", "zeros_taken_adam", "adam", "step", _quirk(Quirks(none_as_zero=True)), "missing gradient"),
    ("OP15", "rmsprop_rho", "rmsprop", "square_avg", Changed(rho=0.95), "ρ is 0.95 instead of 0.99"),
    ("OP15", "adadelta_rho", "adadelta", "square_avg", Changed(rho=0.95), "ρ is 0.95 instead of 0.9"),
    ("OP15", "adagrad_eps", "adagrad", "parameters", Changed(eps=1e-6), "ε is 1e-06 instead of 1e-10"),
    ("OP15", "adamax_eps", "adamax", "exp_inf", _quirk(Quirks(eps_on_maximum=True)), "decayed maximum"),
    ("OP15", "weight_decay", "adamw", "parameters", Changed(weight_decay=0.1), "weight decay is 0.1 instead of 0.01"),
    ("OP15", "momentum", "momentum", "momentum_buffer", Changed(momentum=0.99), "momentum is 0.99"),
    ("OP15", "dampening", "momentum", "momentum_buffer", _quirk(Quirks(dampening=True)), "dampened"),
    ("OP15", "nesterov", "nesterov", "parameters", Changed(nesterov=False), "momentum is plain"),
    ("OP15", "amsgrad", "amsgrad", "max_exp_avg_sq", Changed(amsgrad=False), "the last"),
    (
        "OP15",
        "lamb_trust",
        "lamb",
        "parameters",
        Partial(_quirk(Quirks(trust="decayed")), _is_spared),
        "no trust ratio",
    ),
    ("OP16", "too_deep", "electra", "learning rate", _with(_TooDeep), "one layer too deep"),
    ("OP16", "not_applied", "electra", "learning rate", Changed(layer_decay=1.0), "not applied"),
    ("OP16", "other_decay", "electra", "learning rate", Changed(layer_decay=0.9), "0.9 instead of 0.8"),
    (
        "OP17",
        "biases_twice",
        "adamw",
        "parameters",
        Partial(_quirk(Quirks(scale=2.0), _is_bias), _is_bias),
        "2 times as large",
    ),
    ("OP17", "all_twice", "adamw", "learning rate", _with(_DoubleRate), "2 times"),
    ("OP18", "beta2", "adamw", "exp_avg_sq", Changed(betas=(0.9, 0.98)), "β₂ is 0.98 instead of 0.999"),
    ("OP18", "beta1", "adam", "exp_avg", Changed(betas=(0.95, 0.999)), "β₁ is 0.95 instead of 0.9"),
    ("TR08", "by_position", "adamw", "exp_avg", _with(_ResumedByPosition), ""),
    ("LR01", "ahead", "sgd", "schedule constant", _schedule(lambda s, lr, k: s(lr, k + 1)), "1 update ahead"),
    ("LR01", "late", "sgd", "learning rate", _with(_LateRate), "of the update before"),
    ("LR02", "not_stepped", "sgd", "schedule constant", _schedule(lambda s, lr, k: s(lr, 0)), "never stepped"),
    (
        "LR03",
        "composed",
        "sgd",
        "schedule linear",
        _schedule(lambda s, lr, k: replace(s, composed=True)(lr, k) if s.name != "constant" else s(lr, k)),
        "multiplied with the decay",
    ),
    (
        "LR03",
        "followed",
        "sgd",
        "schedule electra",
        _schedule(lambda s, lr, k: replace(s, composed=False)(lr, k)),
        "followed by the decay",
    ),
    ("LR04", "end", "sgd", "schedule linear", _schedule(_ends_at), "ends at 0.0001"),
    (
        "LR05",
        "micro_batches",
        "sgd",
        "schedule constant",
        _schedule(lambda s, lr, k: s(lr, 2 * k)),
        "2 times per update",
    ),
    ("LR05", "half_as_often", "sgd", "schedule constant", _schedule(lambda s, lr, k: s(lr, k // 2)), "every 2 updates"),
    (
        "LR05",
        "total",
        "sgd",
        "schedule linear",
        _schedule(lambda s, lr, k: replace(s, total=s.total + 28, warmup=s.warmup_updates)(lr, k)),
        "over 128 updates instead of 100",
    ),
)
