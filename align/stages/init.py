"""The init stage: do both models start from the same distribution of weights?

Each side initialises itself from its own generator, several times over. What never changes is compared as it stands:
zero biases, unit gammas, the zero row of a pad token. What changes is drawn, and both sides' draws are tested for one
distribution. Then the structure: which parameters there are, which of them are trained, which are one tensor, and
which only start as copies of each other. At last torch's initialisation is loaded into both models, bit by bit, so that
the later stages may start from it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from align.blame import Finding
from align.difference import Difference, difference
from align.distributions import Sample, draw_sample, list_tests, moments, smallest_ratio, two_sample, worst_index, z_of
from align.drawn import Histogram
from align.edges import ROOT
from align.fresh import Builds, draw_builds, transfer
from align.initialisers import Initialiser, recognise
from align.stage import StageReport
from align.stages import Subject
from align.structure import frozen, owner, sharing
from align.verdict import Verdict

FALSE_ALARMS = 1e-4  # of a clean pair, in one run
_WEAK = 1.05  # if a larger ratio of both σ may stay unseen, the report says so


@dataclass
class Findings:
    """The verdicts, and one finding for each guilty module."""

    verdicts: list[Verdict] = field(default_factory=list)
    found: dict[str, Finding] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    blind: list[str] = field(default_factory=list)
    histograms: list[Histogram] = field(default_factory=list)

    def judge(self, name: str, what: str, found: Difference, limit: float = 0.0, noise: float = 0.0) -> bool:
        """The verdict on one property of a parameter; whether it passes."""
        self.verdicts.append(Verdict(name, what, what, owner(name), found, noise, limit))
        return self.verdicts[-1].passed

    def blame(
        self,
        name: str,
        why: str,
        explanation: str = "",
        module: str | None = None,
        evidence: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Blame the module that holds a parameter, or another; what is wrong with one parameter is told together."""
        module = module or owner(name)
        leaf = name.removeprefix(f"{module}.")
        found = Finding(module, f"{leaf}: {why}", name, {**evidence, **_explained(explanation)})
        before = self.found.setdefault(module, found)
        if before is not found and before.edge == name and why not in before.why:
            told = before.evidence.get("explanation", {}).get("text", "")
            both = {**before.evidence, **evidence, **_explained("; ".join(filter(None, (told, explanation))))}
            self.found[module] = replace(before, why=f"{before.why}; {why}", evidence=both)


def _explained(text: str) -> dict[str, Any]:
    return {"explanation": {"text": text}} if text else {}


def run(subject: Subject) -> StageReport:
    """Judge how both sides initialise the case's model.

    Raises:
        CannotCompareError: live modules are compared, which cannot be built anew.
    """
    started = time.perf_counter()
    case = subject.registered("init")
    torch, paddle = draw_builds(subject.pair, case)
    findings = Findings()
    common = _structure(findings, torch, paddle)
    drawn = [name for name in common if _constants(findings, name, torch, paddle)]
    _distributions(findings, drawn, torch, paddle)
    _copies(findings, drawn, torch, paddle)
    if findings.found:
        findings.notes.append("the weights were not transferred: first mend what is found")
    else:
        for side in transfer(subject.pair, case.model, torch.records[0].path, (torch, paddle)):
            _transfer(findings, common, torch, side)
    place = {name: n for n, name in enumerate((*torch.names, *paddle.names))}
    return StageReport(
        stage="init",
        seconds=time.perf_counter() - started,
        verdicts=findings.verdicts,
        blame=sorted(findings.found.values(), key=lambda finding: place[finding.edge]),
        notes=findings.notes,
        blind=findings.blind,
        histograms=findings.histograms,
    )


def _is(same: bool, why: str = "") -> Difference:
    """A property that both sides have alike, or not."""
    return Difference("ok", (), "bool", *(float(not same),) * 3, scale=1.0, detail=why)


def _structure(findings: Findings, torch: Builds, paddle: Builds) -> list[str]:
    """Compare what parameters there are, of what shape and dtype, which are one tensor and which are trained.

    Returns those whose values are to be compared, a tensor that both sides share once.
    """
    facts = {side.side: side.facts for side in (torch, paddle)}
    one_sided = {fact.name: fact for fact in (*sharing(facts), *frozen(facts))}
    common = []
    for name in dict.fromkeys((*torch.names, *paddle.names)):
        sides = [side for side in (torch, paddle) if name in side.names]
        if len(sides) == 1:
            why = f"only the {sides[0].side} model has this parameter"
            found = Difference("missing" if sides[0] is torch else "unexpected", (), "", detail=why)
        else:
            found = _alike(torch.values(name)[0], paddle.values(name)[0])
            if found.status == "ok" and not torch.owner(name) == paddle.owner(name) != name:
                common.append(name)
        fact = one_sided.get(name)
        if fact is not None and found.status == "ok":
            found = _is(False, fact.text)
        if not findings.judge(name, "structure", found):
            findings.blame(name, found.detail, fact.cause if fact else found.detail)
    return common


def _alike(expected: np.ndarray, actual: np.ndarray) -> Difference:
    """Whether shape and dtype are the same, whatever the values."""
    if expected.shape != actual.shape:
        return difference(expected, actual)
    if expected.dtype != actual.dtype:
        why = f"{actual.dtype} in paddle, {expected.dtype} in torch"
        return Difference("dtype", actual.shape, actual.dtype.name, detail=why)
    return _is(True)


def _constants(findings: Findings, name: str, torch: Builds, paddle: Builds) -> bool:
    """Compare a parameter that is the same in every build; return whether it is drawn anew on both sides instead."""
    expected, actual = torch.values(name), paddle.values(name)
    for side, builds in ((torch, expected), (paddle, actual)):
        if not all(np.isfinite(build).all() for build in builds):
            findings.judge(name, "constant", Difference("nonfinite", builds[0].shape, builds[0].dtype.name))
            findings.blame(name, f"not finite in {side.side}: is it initialised at all?")
            return False
    drawn = [any(not np.array_equal(build, builds[0]) for build in builds[1:]) for builds in (expected, actual)]
    if all(drawn):
        return True
    if any(drawn):
        findings.judge(name, "constant", _is(False))
        samples = [draw_sample(builds, np.zeros(builds[0].shape, bool)).values for builds in (expected, actual)]
        findings.histograms.append(Histogram.of(name, *samples))
        always, never = (paddle, torch) if drawn[0] else (torch, paddle)
        constant = (actual if drawn[0] else expected)[0]
        text = (
            f"always {constant.flat[0] + 0.0:g}"
            if _is_flat(constant)
            else "the same values in every build (a fixed seed?)"
        )
        fresh = _initialiser(expected if drawn[0] else actual)
        said = f"{text} in {always.side}, {fresh.text if fresh else 'drawn at random'} in {never.side}"
        findings.blame(name, said, said)
        return False
    found = difference(expected[0], actual[0])
    # Two units in the last place: a table may be computed in another way.
    if not findings.judge(name, "constant", found, limit=2 * float(np.finfo(np.float32).eps) * found.scale):
        at = found.worst_at or ()
        said = f"{actual[0][at]:g} in paddle, {expected[0][at]:g} in torch"
        findings.blame(name, f"starts as {said} at {at}", f"constant {said}")
    return False


def _initialiser(builds: Sequence[np.ndarray]) -> Initialiser | None:
    return recognise(draw_sample(builds, np.zeros(builds[0].shape, bool)).values, builds[0].shape)


def _distributions(findings: Findings, drawn: Sequence[str], torch: Builds, paddle: Builds) -> None:
    """Test every parameter that is drawn; the limit, in z, is corrected for the number of tests (Bonferroni)."""
    count = sum(len(list_tests(torch.values(name)[0].ndim)) for name in drawn)
    limit = z_of(FALSE_ALARMS / max(count, 1))
    ratios: dict[str, float] = {}
    for name in drawn:
        expected, actual = torch.values(name), paddle.values(name)
        left_out = _constant_rows(findings, name, expected, actual)
        if left_out.all():
            continue
        samples = draw_sample(expected, left_out), draw_sample(actual, left_out)
        findings.histograms.append(Histogram.of(name, samples[0].values, samples[1].values))
        p = two_sample(*samples)
        failing = {}
        for test, value in p.items():
            z = z_of(value)
            found = Difference("ok", expected[0].shape, expected[0].dtype.name, z, z, z, scale=1.0)
            if not findings.judge(name, test, found, limit, noise=1.0):
                failing[test] = value
        if failing:
            _blame_distribution(findings, name, failing, samples, expected[0].shape)
        independent = len(p) > 2
        ratios[name] = smallest_ratio(samples[0].values.size if independent else len(expected), limit)
        if not independent:
            findings.notes.append(
                f"{name}: values of one build depend on each other, so only whole builds are compared"
            )
    if ratios:
        _state_power(findings, ratios, len(torch.records))


def _state_power(findings: Findings, ratios: Mapping[str, float], builds: int) -> None:
    """Say how often a clean pair fails, and what error in σ is seen 99 times out of 100."""
    finest, coarsest = min(ratios, key=ratios.__getitem__), max(ratios, key=ratios.__getitem__)
    findings.notes.append(
        f"{builds} builds of each side; a clean pair fails at most once in {1 / FALSE_ALARMS:,.0f} runs; an error in σ "
        f"is found 99 times out of 100 from {ratios[finest] - 1:.2g} of σ at {finest} to {ratios[coarsest] - 1:.2g} at "
        f"{coarsest}"
    )
    weak = [name for name in ratios if ratios[name] > _WEAK]
    if weak:
        others = f", and over {_WEAK - 1:.0%} still at {len(weak) - 1} more small parameters" if len(weak) > 1 else ""
        findings.blind.append(f"errors in σ under {ratios[coarsest] - 1:.0%} at {coarsest}{others}")


def _constant_rows(
    findings: Findings, name: str, expected: Sequence[np.ndarray], actual: Sequence[np.ndarray]
) -> np.ndarray:
    """Compare the rows of every axis that are the same in every build, as a pad token's; return a mask of them all."""
    shape = expected[0].shape
    left_out = np.zeros(shape, bool)
    for axis in range(len(shape)) if len(shape) > 1 else ():
        others = tuple(a for a in range(len(shape)) if a != axis)
        if left_out.size // shape[axis] < 2:
            continue  # single numbers may be drawn alike by chance
        constant = [
            np.all([(build == builds[0]).all(others) for build in builds[1:]], 0) for builds in (expected, actual)
        ]
        rows = [np.moveaxis(builds[0], axis, 0) for builds in (expected, actual)]
        both = constant[0] & constant[1]
        wrong = constant[0] ^ constant[1]
        wrong[both] = [not np.array_equal(rows[0][i], rows[1][i]) for i in np.flatnonzero(both)]
        constants = constant[0] | constant[1]
        if constants.any() and not findings.judge(name, f"constant, axis {axis}", _is(not wrong.any())):
            i = int(np.argmax(wrong))
            said = " and ".join(
                f"{_row_text(row[i]) if always[i] else 'drawn at random'} in {side}"
                for side, row, always in zip(("torch", "paddle"), rows, constant, strict=True)
            )
            findings.blame(name, f"row {i} of axis {axis} is {said}", f"row {i} is {said}")
        np.moveaxis(left_out, axis, 0)[constants] = True
    return left_out


def _row_text(row: np.ndarray) -> str:
    return f"{row.flat[0]:g}" if _is_flat(row) else "always the same"


def _is_flat(values: np.ndarray) -> bool:
    return bool((values == values.flat[0]).all())


def _blame_distribution(
    findings: Findings, name: str, failing: Mapping[str, float], samples: tuple[Sample, Sample], shape: Sequence[int]
) -> None:
    torch, paddle = samples
    numbers = {"torch": moments(torch), "paddle": moments(paddle)}
    likely = [recognise(sample.values, shape) for sample in samples]
    why = _why(failing, torch, paddle)
    explanation = ""
    if likely[0] and likely[1] and likely[0].text != likely[1].text:
        explanation = f"{likely[1].text} in paddle; {likely[0].text} in torch"
        if likely[0].family != likely[1].family:
            why += f"; {likely[1].family} in paddle, {likely[0].family} in torch"
    findings.blame(name, why, explanation, evidence={"tests": list(failing), **numbers})


def _why(failing: Mapping[str, float], torch: Sample, paddle: Sample) -> str:
    """How both samples differ: in mean or σ, or else in what stands out most."""
    if "mean" in failing:
        return f"mean {paddle.mean:.3g} in paddle, {torch.mean:.3g} in torch (std {paddle.std:.3g} and {torch.std:.3g})"
    if "σ" in failing:
        ratio = paddle.std / torch.std if torch.std else float("inf")
        return f"std {paddle.std:.4g} in paddle, {torch.std:.4g} in torch (×{ratio:.3g})"
    most = min(reversed(list(failing)), key=failing.__getitem__)
    what, comma, axis = most.partition(", axis ")
    if comma:
        i = worst_index(torch, paddle, what, int(axis))
        return f"at {i} of axis {axis}: " + _why({what: 0.0}, torch.at(int(axis), i), paddle.at(int(axis), i))
    kurtoses = (f"{moments(sample)['kurtosis']:.3g}" for sample in (paddle, torch))
    return "another distribution of equal mean and std (kurtosis {} in paddle, {} in torch)".format(*kurtoses)


def _copies(findings: Findings, drawn: Sequence[str], torch: Builds, paddle: Builds) -> None:
    """Compare which parameters start as copies of others: layers that were cloned, matrices drawn once."""
    names = [name for name in drawn if torch.owner(name) == paddle.owner(name)]
    first = [_firsts(names, side) for side in (torch, paddle)]
    for name in names:
        torch_first, paddle_first = first[0][name], first[1][name]
        if findings.judge(name, "own values", _is(torch_first == paddle_first)):
            continue
        side, other, origin = (
            ("paddle", "torch", paddle_first) if paddle_first != name else ("torch", "paddle", torch_first)
        )
        said = f"starts as a copy of {origin} in {side}, with values of its own in {other}"
        findings.blame(name, said, said, _common(name, origin))


def _firsts(names: Sequence[str], side: Builds) -> dict[str, str]:
    """For each parameter the first that has the same values in every build."""
    first: dict[bytes, str] = {}
    return {name: first.setdefault(side.digest(name), name) for name in names}


def _common(one: str, other: str) -> str:
    """The module around two parameters."""
    shared = []
    for a, b in zip(owner(one).split("."), owner(other).split("."), strict=False):
        if a != b:
            break
        shared.append(a)
    return ".".join(shared) or ROOT


def _transfer(findings: Findings, common: Sequence[str], torch: Builds, side: Builds) -> None:
    """Compare what a model holds, after torch's first build was loaded into it, with that build."""
    for name in common:
        found = difference(torch.values(name)[0], side.values(name)[0])
        if not findings.judge(name, f"transfer to {side.side}", found):
            findings.blame(
                name, f"loaded into {side.side}, the initialisation of torch is changed: {found.max_abs:.2e}"
            )
