"""What the models cost: as fast as the references, and how near to the bare matrix products.

`python -m bench.models [MODEL:VARIANT ...]` prints the table that the README quotes. In each framework, in a process of
its own, three things take turns on the same batch: our model, the reference (transformers or PaddleNLP) that has loaded
our weights through `python -m convert`, and the floor, which is the products of our torch model's forward pass (matrix
products, attention's two batched ones, convolutions) on operands of the same shapes with nothing between them. Times
are minima over the rounds; a ratio above 1 means that ours is that many times as fast. The outputs must be equal.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from align import registry
from align.case import Case, resolve
from align.errors import CannotCompareError
from fake_data.spec import find_spec

SHAPES = ((8, 128), (2, 512))
VARIANTS = ("small", "base")
LIMITS = {  # (framework, model, shape) or shorter → the least speed-up over the reference
    ("torch",): 1.0,
    ("torch", "funnel", (8, 128)): 1.1,
    ("torch", "funnel", (2, 512)): 1.3,
    ("paddle",): 1.0,
    ("paddle", "funnel"): 1.2,
}
FLOOR = 1.2  # the most that a forward pass may take, as a multiple of its products
FRAMEWORKS = ("torch", "paddle")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.models", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="MODEL:VARIANT", help="default: small and base of every model")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument("--framework", choices=FRAMEWORKS, help="one framework only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the rows for programs")
    parser.add_argument("--side", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        _serve()
        return
    try:
        cases = [_resolved(text, shape) for text in options.cases or _all() for shape in SHAPES]
    except CannotCompareError as error:
        raise SystemExit(f"bench.models: {error}") from None
    frameworks = [options.framework] if options.framework else list(FRAMEWORKS)
    rows = []
    for row in _rows(cases, frameworks, options.rounds):
        rows.append(row)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1))
    Console(width=140).print(_table(rows))


def _all() -> Iterator[str]:
    for model in registry.names():
        yield from (f"{model}:{name}" for name in _variants(model))


def _variants(model: str) -> Iterator[str]:
    """Small and base, or where a model has neither the first after the tiny one."""
    known = registry.architecture(model).variants
    yield from [name for name in VARIANTS if name in known] or list(known)[1:2]


def _resolved(text: str, shape: tuple[int, int]) -> Case:
    """The case, with positions for the longest shape."""
    model, _, variant = text.partition(":")
    case = resolve(model, "backbone", variant or next(_variants(model)), batch_size=shape[0], length=shape[1])
    bound, longest = find_spec(model).length_limit, max(length for _, length in SHAPES)
    if bound is None or case.raw_config.get(bound, 0) >= longest:
        return case
    return replace(case, raw_config={**case.raw_config, bound: longest})


def _rows(cases: list[Case], frameworks: list[str], rounds: int) -> Iterator[dict[str, Any]]:
    """The rows, framework by framework; torch comes first, whose side writes down the products."""
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder, Progress(transient=True) as progress:
        task = progress.add_task("", total=len(cases) * len(frameworks))
        for framework in frameworks:
            with _side(Path(folder) / f"{framework}.log") as ask:
                for case in cases:
                    progress.update(task, description=f"{framework} {case.model} {case.variant}")
                    about = {
                        "framework": framework,
                        "model": case.model,
                        "variant": case.variant,
                        "config": dict(case.raw_config),
                        "shape": [case.batch_size, case.length],
                    }
                    yield about | ask({**about, "rounds": rounds, "folder": folder})
                    progress.advance(task)


@contextmanager
def _side(log: Path) -> Iterator[Callable[[dict[str, Any]], dict[str, Any]]]:
    """A process that measures what it is asked, one request at a time: its libraries take long to import."""
    command = [sys.executable, "-m", "bench.models", "--side"]
    with (
        log.open("w") as said,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(request: dict[str, Any]) -> dict[str, Any]:
            print(json.dumps(request), file=process.stdin, flush=True)
            answer = process.stdout.readline()  # type: ignore[union-attr]
            if not answer:
                why = (log.read_text().strip().splitlines() or ["it ended without a word"])[-1]
                raise SystemExit(f"{request['framework']} {request['model']} {request['variant']}: {why}")
            return dict(json.loads(answer))

        try:
            yield ask
        finally:
            process.kill()


def _serve() -> None:
    """Answer each request on its own line; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    from bench.speed import measure

    for line in sys.stdin:
        print(json.dumps(measure(json.loads(line))), file=answers, flush=True)


def limit(framework: str, model: str, shape: tuple[int, int]) -> float:
    """The least speed-up over the reference that is asked for."""
    keys = ((framework, model, shape), (framework, model), (framework,))
    return next(LIMITS[key] for key in keys if key in LIMITS)  # type: ignore[index]


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="python -m bench.models: seconds, and ours against the reference and the floor")
    columns = (
        "model",
        "shape",
        "framework",
        "forward",
        "× reference",
        "and backward",
        "× reference",
        "least",
        "÷ floor",
    )
    for column in (*columns, "most"):
        table.add_column(column, justify="left" if column in ("model", "shape", "framework") else "right")
    for row in rows:
        seconds, shape = row["seconds"], tuple(row["shape"])
        asked = limit(row["framework"], row["model"], shape)
        table.add_row(
            f"{row['model']} {row['variant']}",
            "×".join(map(str, shape)),
            row["framework"],
            f"{seconds['ours']:.3f}",
            _judged(seconds.get("reference"), seconds["ours"], asked),
            f"{seconds['ours, backward']:.3f}",
            _judged(seconds.get("reference, backward"), seconds["ours, backward"], asked),
            f"{asked}" if "reference" in seconds else "",
            _coloured(seconds["ours"] / seconds["floor"], seconds["ours"] <= FLOOR * seconds["floor"]),
            f"{FLOOR}",
        )
    return table


def _judged(reference: float | None, ours: float, least: float) -> str:
    return "–" if reference is None else _coloured(reference / ours, reference >= least * ours)


def _coloured(ratio: float, good: bool) -> str:
    return f"{ratio:.2f}" if good else f"[red]{ratio:.2f}[/red]"


if __name__ == "__main__":
    main()
