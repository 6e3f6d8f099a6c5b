"""The table of models: `python -m bench.overview` prints what the README holds, in Markdown.

Parameters are those of the backbone in each variant, counted without making them. The differences are measured: every
task goes through `step1` in its tiny variant; *float32* is the largest difference of an output between both frameworks
from end to end, as a part of the largest output, *limit* the worst that a comparison of the verdict stands at.
"""

import argparse
import importlib
from collections.abc import Iterator

import torch
from rich.progress import track

from align import registry
from align.case import resolve
from align.client import InProcessClient
from align.compare import judge_case
from align.edges import ROOT, module_of
from align.progress import Steps
from align.report import Report
from convert.live import config_class

HEADER = ("model", "parameters", "tasks", "variants", "tested against", "float32", "limit")
PACKAGES = {"transformers": "transformers", "paddlenlp": "PaddleNLP"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.overview", description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: all")
    models = parser.parse_args().models or registry.names()
    rows = [_row(model) for model in track(models, "models", transient=True)]
    print("\n".join(f"| {' | '.join(row)} |" for row in (HEADER, ["---"] * len(HEADER), *rows)))


def _row(model: str) -> list[str]:
    known = registry.architecture(model)
    reports = [_judged(model, task) for task in known.tasks]
    bad = [task for task, report in zip(known.tasks, reports, strict=True) if not report.passed]
    if bad:
        raise SystemExit(f"{model}: no parity in {', '.join(bad)}; see python -m align step1 --model {model}")
    counts = sorted(_parameters(model, variant) for variant in known.variants if variant != "tiny")
    return [
        f"`{model}`",
        f"{counts[0] / 1e6:.1f} M" + (f" to {counts[-1] / 1e6:.1f} M" if counts[-1] != counts[0] else ""),
        ", ".join(known.tasks),
        ", ".join(known.variants),
        ", ".join(_references(model)),
        f"{max(size for report in reports for size in _end_to_end(report)):.1e}",
        f"{max(verdict.ratio for report in reports for verdict in report.verdicts):.2g}",
    ]


def _parameters(model: str, variant: str) -> int:
    module = importlib.import_module(f"models_torch.{model}")
    config = config_class(module).from_dict(module.VARIANTS[variant])
    with torch.device("meta"):
        network = getattr(module, module.TASKS["backbone"])(config)
    return sum(parameter.numel() for parameter in network.parameters())


def _references(model: str) -> list[str]:
    """The packages that have the architecture; where none has, the tests bring the formulae in NumPy."""
    layouts = importlib.import_module(f"convert.layouts.{model}").LAYOUTS
    transformers = importlib.import_module("transformers")
    named = registry.architecture(model).tasks["backbone"]
    found = [name for layout, name in PACKAGES.items() if layout in layouts]
    if "transformers" in found and not hasattr(transformers, named):
        found.remove("transformers")
    return found or ["NumPy formulae"]


def _judged(model: str, task: str) -> Report:
    return judge_case(resolve(model, task), InProcessClient("torch"), InProcessClient("paddle"), Steps())


def _end_to_end(report: Report) -> Iterator[float]:
    for stage in report.stages:
        for edge, difference in (stage.free_run.differences if stage.free_run else {}).items():
            if module_of(edge) == ROOT:
                yield difference.max_abs / (difference.scale or 1.0)


if __name__ == "__main__":
    main()
