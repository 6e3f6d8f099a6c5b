"""Reports to render, made of numbers alone: one that agrees, one with a fault, one that came to no end."""

from dataclasses import replace

import numpy as np

from align.blame import findings
from align.difference import Difference
from align.drawn import Curve, Histogram
from align.edges import ROOT
from align.report import Report
from align.stage import NOT_APPLICABLE, NOT_COMPARED, NOT_RUN, FreeRun, Omission, StageReport
from align.verdict import Verdict, edge_verdict

FAULTY = "encoder.layer.1.norm"
ENVIRONMENT = {"torch": "torch 2.13.0", "paddle": "paddle 3.3.1", "numpy": "2.3", "threads": {"torch": 2, "paddle": 2}}
LIMIT, NOISE = 2e-12, 3e-15
PIECES = ("query", "key", "norm")


def names(layers=3):
    """The modules of a network in order of execution."""
    inner = [f"encoder.layer.{n}{part}" for n in range(layers) for part in ("", *(f".{p}" for p in PIECES))]
    return [ROOT, "embedding", "encoder", *inner, "head"]


def modules(layers=3):
    both = {name: name.rpartition(".")[2].title() for name in names(layers)}
    return {name: {"torch": kind, "paddle": kind} for name, kind in both.items()}


def edges(probe, layers=3, wrong=()):
    """What is compared in a forward pass: inputs and outputs of every module, those in `wrong` 10⁵ limits off."""
    for name in names(layers):
        for leaf in ("in0", "out"):
            error = 1e5 * LIMIT if f"{name}:{leaf}" in wrong else 3e-4 * LIMIT
            found = Difference("ok", (2, 5, 7), "float64", error / 9, error, error / 3, 1.0, (1, 4, 2))
            caller = name.rpartition(".")[0].removesuffix(".layer") or ROOT
            yield edge_verdict(f"{name}:{leaf}", probe, found, NOISE, LIMIT, caller)


def forward(wrong=(), layers=3):
    verdicts = [v for probe in ("default", "saturated") for v in edges(probe, layers, wrong)]
    blame = findings([v for v in verdicts if not v.passed])
    cause = {"explanation": {"text": "eps is 1e-05 instead of 1e-12", "residual": 3.1e-10, "parameters": 1}}
    blame = [replace(finding, evidence={**finding.evidence, **cause}) for finding in blame]
    logits = np.linspace(-1, 1, 6, dtype=np.float32)
    run = FreeRun.of({f"{ROOT}:out.logits": logits}, {f"{ROOT}:out.logits": logits + np.float32(1e-6)})
    return StageReport("forward", 1.25, verdicts, blame, ["a note"], ["a lost batch axis"], run)


def backward():
    verdicts = [replace(v, kind="gradient") for v in reversed(list(edges("default")))]
    return StageReport("backward", 2.0, verdicts)


def init(wrong=()):
    generator = np.random.default_rng(0)
    drawn = [f"{name}.weight" for name in names() if name.endswith(("query", "key"))]
    histograms = []
    for name in drawn:
        sides = generator.normal(0, 0.02, (2, 500)) * np.array([[1], [3 if name in wrong else 1]])
        histograms.append(Histogram.of(name, *sides))
    z = {name: 40.0 if name in wrong else 1.0 for name in drawn}
    verdicts = [
        Verdict(
            name, "σ", "σ", name.rpartition(".")[0], Difference("ok", (7, 5), "float32", v, v, v, 1.0), 1.0, limit=5.0
        )
        for name, v in z.items()
    ]
    return StageReport("init", 0.5, verdicts, findings([v for v in verdicts if not v.passed]), histograms=histograms)


def training(updates=20, judged=15):
    """A loss whose gap exceeds its limit at update 12."""
    steps = np.arange(updates)
    loss = 3.0 / (1 + steps)
    gap = np.where(steps < 12, 1e-15, 1e-9)
    limit = np.full(updates, 9e-14)
    curve = Curve("loss", "loss", "float64", loss, loss * (1 + gap), gap, limit, judged)
    found = Difference("ok", (updates,), "float64", 1e-10, 1e-9, 1e-9, 1.0, (12,))
    verdict = Verdict("loss", "float64", "loss", ROOT, found, 1e-15, 9e-14)
    return StageReport("training", 3.0, [verdict], findings([verdict]), curves=[curve])


def report(*stages, omitted=(), **rest):
    case = {"model": "toy", "task": "masked_lm", "variant": "tiny", "seed": 0}
    command = ("python", "-m", "align", "all", "--model", "toy")
    return Report(case, ENVIRONMENT, stages, omitted, rest.pop("modules", modules()), command, **rest)


def clean():
    return report(forward(), init(), backward(), omitted=[Omission("loss", NOT_APPLICABLE, "the model has no loss")])


def broken():
    backwards = replace(backward(), red_before=["forward"])
    wrong = [f"{FAULTY}:out"]
    return report(forward(wrong), init(["encoder.layer.2.key.weight"]), backwards, replace(training(), notes=["short"]))


def unfinished():
    """The forward stage agrees, the next has failed, and the others were not run."""
    reason = "the paddle model raised: no kernel for <float64> & co"
    left = [Omission("init", NOT_COMPARED, reason)]
    left += [Omission(name, NOT_RUN, "init is not green") for name in ("loss", "metric", "backward")]
    return report(forward(), omitted=left)


def stopped():
    """The forward stage is red, and nothing was run after it."""
    left = [Omission(name, NOT_RUN, "it stands on forward") for name in ("loss", "training")]
    return report(forward([f"{FAULTY}:out"]), omitted=left)


# A name that is markup in every language a report is written in, and has characters that XML cannot hold.
NASTY = "a<img src=x onerror='window.pwned=1'>&\"|`]]></script><script>window.pwned=1</script>\x07{{7*7}}"


def nasty(text=NASTY):
    """Names, texts and values that are markup."""
    edge = f"{NASTY}:out"
    found = Difference("nonfinite", (2, 3), "float64", detail=text)
    verdict = edge_verdict(edge, NASTY, found, 0.0, LIMIT, ROOT)
    (finding,) = findings([verdict])
    finding = replace(finding, evidence={**finding.evidence, "explanation": {"text": NASTY}})
    fine = edge_verdict("fine:out", "default", Difference("ok", (2,), "float64", 0, 0, 0, 1.0), 0.0, LIMIT, ROOT)
    histogram = Histogram.of(NASTY, np.zeros(3), np.ones(3))
    curve = Curve(NASTY, "gradient", NASTY, np.empty(0), np.empty(0), np.array([np.nan, 1.0]), np.zeros(2), 2)
    stage = StageReport(
        "forward", 0.1, [verdict, fine], [finding], [NASTY], [NASTY], None, [curve], [histogram], [NASTY]
    )
    made = report(stage, omitted=[Omission("loss", NOT_COMPARED, NASTY)], modules={ROOT: {}, NASTY: {"torch": NASTY}})
    return replace(made, case={"model": NASTY, NASTY: NASTY}, environment={"torch": NASTY}, command=(NASTY, "--x"))


ALL = {"clean": clean, "broken": broken, "unfinished": unfinished, "stopped": stopped, "nasty": nasty}
