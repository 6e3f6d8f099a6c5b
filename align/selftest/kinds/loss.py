"""Bugs in losses: labels read wrongly, losses counted, weighted and smoothed wrongly.

They stand in modules of the architecture whose forward takes logits and labels.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from align.selftest import tensors
from align.selftest.kinds.forward import Forward
from align.selftest.mutation import Mutation
from align.selftest.sabotage import override
from align.selftest.site import Site
from align.selftest.source import read
from align.session import Session
from fake_data import make_batch

IGNORED = -100


def mutations(site: Site) -> list[Mutation]:
    """Every kind in each class of loss, in the first task that has it."""
    return [mutation for here, path in _losses(site) for mutation in _kinds(here, path)] + [
        *_overwritten(site),
        *_class_axis(site),
    ]


def _losses(site: Site) -> Iterator[tuple[Site, str]]:
    """A module of each class of loss, in the first task with a label 0 if there is one."""
    source = read(site.model, site.side)
    classes = [name for name in source.classes if _takes_labels(source.methods(name))]
    for class_name in classes:
        found = [(here, path) for here in site.everywhere() for path in here.of_class(class_name)]
        found.sort(key=lambda place: not _has_label_0(place[0]))
        yield from found[:1]


def _has_label_0(site: Site) -> bool:
    labels = make_batch(site.model, site.task, site.config).get("labels")
    return labels is not None and bool((labels == 0).any())


def _takes_labels(methods: dict[str, Any]) -> bool:
    if "forward" not in methods:
        return False
    _, tree = methods["forward"]
    return [argument.arg for argument in tree.args.args] == ["self", "logits", "labels"]


def _kinds(here: Site, path: str) -> Iterator[Mutation]:
    class_name = here.kinds[path]["class"]
    for kind, name, forward, explained in _KINDS + (_IGNORING if "CrossEntropy" in class_name else ()):
        yield _mutation(kind, name, here, path, forward, explained)
    if class_name == "CrossEntropy":
        yield _mutation("LO07", "smoothed", here, path, _smoothed, "smooth")
        yield _mutation("LO16", "softmax_twice", here, path, _softmax_twice, "softmax")


def _overwritten(site: Site) -> Iterator[Mutation]:
    """A loss that writes into labels which the model reads once more."""
    for here in site.everywhere():
        for path in [path for path in here.of_class("CrossEntropy") if path in here.runs][:1]:
            yield _mutation("LO05", "labels_overwritten", here, path, _labels_overwritten, "")


def _class_axis(site: Site) -> Iterator[Mutation]:
    """Classes taken for positions, in a batch that has as many of both."""
    task = "token_classification"
    if task in site.tasks:
        here = site.at(task)
        for path in here.of_class("CrossEntropy"):
            wrong = _mutation("LO06", "class_axis", here, path, _other_axis, "axis|class|transpos")
            yield replace(wrong, case={"length": here.config["num_labels"]})


def _other_axis(self: Any, original: Any, logits: Any, labels: Any) -> Any:
    return original(tensors.framework_of(logits).swapaxes(logits, 1, 2), labels)


def _mutation(kind: str, name: str, here: Site, path: str, forward: Forward, explained: str) -> Mutation:
    def apply(session: Session) -> None:
        override(session, path, forward)

    stage = "forward" if path in here.runs else "loss"
    return Mutation(kind, name, stage, path, apply, explained, here.task, config=here.given)


def _mean_of_all(self: Any, original: Any, logits: Any, labels: Any) -> Any:
    """Paddle's own cross-entropy: the sum over what is kept, divided by all."""
    return original(logits, labels) * tensors.cast(labels != IGNORED, logits.dtype).mean()


def _divided_again(self: Any, original: Any, logits: Any, labels: Any) -> Any:
    return original(logits, labels) / 2


def _id_0_ignored(self: Any, original: Any, logits: Any, labels: Any) -> Any:
    return original(logits, labels + tensors.cast(labels == 0, labels.dtype) * IGNORED)


def _labels_of_the_next(self: Any, original: Any, logits: Any, labels: Any) -> Any:
    return original(logits, tensors.framework_of(labels).roll(labels, -1, -1))


def _labels_overwritten(self: Any, original: Any, logits: Any, labels: Any) -> Any:
    """−100 becomes 0 in the caller's labels."""
    loss = original(logits, labels)
    labels.multiply_(tensors.cast(labels != IGNORED, labels.dtype))
    return loss


def _smoothed(self: Any, original: Any, logits: Any, labels: Any) -> Any:
    everywhere = (logits.logsumexp(-1) - logits.mean(-1)) * tensors.cast(labels != IGNORED, logits.dtype)
    return 0.9 * original(logits, labels) + 0.1 * everywhere.mean()


def _softmax_twice(self: Any, original: Any, logits: Any, labels: Any) -> Any:
    return original(tensors.softmax(logits), labels)


_KINDS: tuple[tuple[str, str, Forward, str], ...] = (
    ("LO04", "divided_again", _divided_again, "factor|count|twice|times|0.5|half"),
    ("LO09", "labels_of_the_next", _labels_of_the_next, "shift|label|moved"),
)
_IGNORING: tuple[tuple[str, str, Forward, str], ...] = (
    ("LO01", "mean_of_all", _mean_of_all, "count|mean|ignore|all"),
    ("LO05", "label_0_ignored", _id_0_ignored, "ignore|label"),
)
