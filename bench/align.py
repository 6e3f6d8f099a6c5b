"""What a forward verdict costs: time as a multiple of one bare pass of both frameworks, and memory.

`python -m bench.align [MODEL:VARIANT ...]` prints the table that the README quotes. A bare pass is the float32
evaluation of the same batch by both frameworks with nothing recorded, each in a process of its own, one after the
other.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

DEFAULT = ("electra:tiny", "funnel:tiny", "electra:small", "electra:base", "funnel:small")
_REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.align", description=__doc__)
    parser.add_argument("cases", nargs="*", default=DEFAULT, metavar="MODEL:VARIANT")
    parser.add_argument("--bare", metavar="FRAMEWORK", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        print(json.dumps(bare_seconds(options.bare, *options.cases[0].split(":"))))
        return
    table = Table(title="python -m align step1: what a verdict costs", title_justify="left")
    columns = ("case", "parameters", "bare s", "stage s", "ratio", "command s", "memory GiB", "edges", "worst ratio")
    for column in columns:
        table.add_column(column, justify="left" if column == "case" else "right")
    for case in options.cases:
        table.add_row(*_row(*case.split(":")))
    Console(width=120).print(table)


def _row(model: str, variant: str) -> list[str]:
    bare = [_measure_bare(framework, model, variant) for framework in ("torch", "paddle")]
    seconds = sum(b["seconds"] for b in bare)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        arguments = ["-m", "align", "step1", "--model", model, "--variant", variant, "--json", str(path), "--quiet"]
        wall, memory = _run_watched([sys.executable, *arguments])
        stage = json.loads(path.read_text())["stages"][0]
    worst = max(row["ratio"] for row in stage["diffs"])
    return [
        f"{model} {variant}",
        f"{bare[0]['parameters'] / 1e6:.1f} M",
        f"{seconds:.3f}",
        f"{stage['seconds']:.1f}",
        f"{stage['seconds'] / seconds:.1f}×",
        f"{wall:.1f}",
        f"{memory / 2**30:.1f}",
        str(len(stage["diffs"])),
        f"{worst:.1e}",
    ]


def _measure_bare(framework: str, model: str, variant: str) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", "-m", "bench.align", "--bare", framework, f"{model}:{variant}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _run_watched(command: list[str]) -> tuple[float, int]:
    """Run a command; its wall seconds and the largest sum of resident bytes that its process tree reached."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0
    watched = psutil.Process(process.pid)
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.1):
            try:
                tree = [watched, *watched.children(recursive=True)]
                peak = max(peak, sum(p.memory_info().rss for p in tree))
            except psutil.NoSuchProcess:
                continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    done.set()
    watcher.join()
    if code:
        raise SystemExit(f"{' '.join(command)} ended with code {code}")
    return time.perf_counter() - started, peak


def bare_seconds(framework: str, model: str, variant: str) -> dict[str, float]:
    """The best of a few float32 passes of one framework on the default batch, and the number of parameters."""
    from align.case import make_batch, resolve
    from align.session import Session

    case = resolve(model, None, variant)
    session = Session(framework)
    description = session.build(case.model, case.task_class, case.raw_config)
    session.backend.default_dtype("float32")
    session.backend.cast(session.model, "float32")
    batch = make_batch(case, description["config"])
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        session.backend.forward(session.model, batch)
        times.append(time.perf_counter() - started)
    owned = {name: shape for name, shape in description["shapes"].items() if name not in description["tied"]}
    count = sum(_product(shape) for shape in owned.values())
    return {"seconds": min(times), "parameters": count}


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


if __name__ == "__main__":
    main()
