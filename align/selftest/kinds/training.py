"""Bugs of the training loop: what is done between the passes of a network that is right."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from align.engines import Engine
from align.selftest.mutation import Mutation
from align.selftest.site import Site
from align.session import Session
from fake_data import has_labels

Change = Callable[[Engine], None]


def mutations(site: Site) -> list[Mutation]:
    """Every kind, on the first task that has a loss."""
    task = next((task for task in site.tasks if has_labels(site.model, task)), None)
    return [] if task is None else [*_gradients(task), *_updates(task), *_rates(task)]


def _gradients(task: str) -> Iterator[Mutation]:
    yield _engine("TR04", "gradients_not_cleared", "gradients", task, _never("clear"), "did not clear")
    yield _engine("TR05", "micro_batches_summed", "gradients", task, _shares(lambda share: 1.0))
    yield _engine("TR05", "loss_divided_twice", "gradients", task, _shares(lambda share: share / 2), "times torch's")
    yield _engine("LO03", "mean_of_unequal_means", "gradients", task, _shares(lambda share: 0.5))
    yield _engine("TR05", "last_micro_batch_dropped", "gradients", task, _first_only)


def _updates(task: str) -> Iterator[Mutation]:
    yield _engine("TR04", "cleared_before_the_update", "weights", task, _cleared_before, "do not move|not stepped")
    yield _engine("OP11", "no_clipping", "weights", task, _unclipped)
    yield _engine("TR08", "state_lost_when_resumed", "weights", task, _never("load_state"))
    yield _engine("TR08", "state_resumed_by_position", "weights", task, _resumed_by_position)


def _rates(task: str) -> Iterator[Mutation]:
    yield _schedule("LR01", "one_update_late", task, lambda rate: lambda k: rate(k + 1), "update (ahead|behind)")
    yield _schedule("LR02", "schedule_never_stepped", task, lambda rate: lambda k: rate(1), "not stepped")
    yield _schedule("LR05", "stepped_for_each_micro_batch", task, lambda rate: lambda k: rate(2 * k))
    yield _schedule("LR03", "no_warm_up", task, lambda rate: lambda k: max(rate(k), rate(max(k, 2))))


def _engine(kind: str, name: str, blamed: str, task: str, change: Change, explained: str = "") -> Mutation:
    def apply(session: Session) -> None:
        make = session.make_engine

        def changed(spec: Any) -> Engine:
            engine = make(spec)
            change(engine)
            return engine

        session.make_engine = changed  # type: ignore[method-assign]

    return Mutation(kind, name, "training", blamed, apply, explained, task)


def _schedule(kind: str, name: str, task: str, change: Callable[..., Any], explained: str = "") -> Mutation:
    def apply(session: Session) -> None:
        make = session.make_schedule
        session.make_schedule = lambda *given: change(make(*given))  # type: ignore[method-assign]

    return Mutation(kind, name, "training", "learning rate", apply, explained, task)


def _never(method: str) -> Change:
    def change(engine: Engine) -> None:
        setattr(engine, method, lambda *given: None)

    return change


def _shares(other: Callable[[float], float]) -> Change:
    def change(engine: Engine) -> None:
        accumulate = engine.accumulate
        engine.accumulate = lambda loss, share=1.0: accumulate(loss, other(share))  # type: ignore[method-assign]

    return change


def _first_only(engine: Engine) -> None:
    accumulate, clear = engine.accumulate, engine.clear
    seen: list[float] = []

    def once(loss: Any, share: float = 1.0) -> None:
        if not seen:
            accumulate(loss, share)
        seen.append(share)

    def cleared() -> None:
        seen.clear()
        clear()

    engine.accumulate, engine.clear = once, cleared  # type: ignore[method-assign]


def _cleared_before(engine: Engine) -> None:
    step = engine.step

    def late(lr: float) -> None:
        engine.clear()
        step(lr)

    engine.step = late  # type: ignore[method-assign]


def _unclipped(engine: Engine) -> None:
    clip = engine.clip

    def measured() -> float:
        before = engine.gradients()
        norm = clip()
        engine.set_gradients(before)
        return norm

    engine.clip = measured  # type: ignore[method-assign]


def _resumed_by_position(engine: Engine) -> None:
    load = engine.load_state

    def by_position(state: Mapping[str, Any]) -> None:
        """The state of each parameter goes to the next of the same shape."""
        names = list(state)
        shapes = {name: state[name]["exp_avg"].shape for name in names}
        moved = {}
        for name in names:
            alike = [other for other in names if shapes[other] == shapes[name]]
            moved[name] = state[alike[(alike.index(name) + 1) % len(alike)]]
        load(moved)

    engine.load_state = by_position  # type: ignore[method-assign]
