"""What a conversion costs: time as a multiple of `cp`, memory, and how soon a dry run answers.

`python -m bench.convert` makes a checkpoint of 1.3 GB (ELECTRA-large with random values) in a temporary folder and
prints the table that the README quotes. Every command is a process of its own, its source in the page cache; those of
one round follow each other, and a ratio is taken within a round. `cp` leaves its copy to be written by the kernel some
time later. `cp + sync` waits until the disk has it, which is what a conversion does.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

_FILES = {"safetensors": "model.safetensors", "bin": "pytorch_model.bin", "pdparams": "model_state.pdparams"}
_ROUTES = (  # format of the source, layout and format to write, limit without and with verification
    ("safetensors", "paddle", "safetensors", 2.2, 4.5),
    ("bin", "paddlenlp", "pdparams", 2.5, 4.5),
    ("pdparams", "transformers", "bin", 2.5, 4.5),
)
_REST = 4  # seconds
_LARGEST = 1024 * 4096 * 4  # bytes of the largest transposed tensor
_MEMORY, _DRY_RUN = 100e6 + 2 * _LARGEST, 0.3  # limits: bytes, seconds


class _Cost(NamedTuple):
    seconds: float
    memory: int


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.convert", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds to take the median of (default 5)")
    parser.add_argument("--folder", metavar="DIR", help="where to work; 7 GB are needed (default: the system's)")
    parser.add_argument("--make", metavar="DIR", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make(options.make)
        return
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-", dir=options.folder) as folder:
        _print_table(Path(folder), options.rounds)


def make(folder: Path) -> None:
    """The same model as transformers saves it: in safetensors, and in a .bin file."""
    import safetensors.torch
    import torch

    from models_torch.electra import VARIANTS, ElectraConfig, ElectraModel

    large: dict[str, Any] = VARIANTS["large"]  # type: ignore[assignment]
    with torch.device("meta"):
        model = ElectraModel(ElectraConfig.from_dict(large))
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.randn(value.shape, generator=generator) for name, value in model.state_dict().items()}
    for form in ("safetensors", "bin"):
        (folder / form).mkdir()
        config = {"model_type": "electra", "architectures": ["ElectraModel"], **large}
        (folder / form / "config.json").write_text(json.dumps(config))
    safetensors.torch.save_file(state, folder / "safetensors/model.safetensors", {"format": "pt"})
    torch.save(state, folder / "bin/pytorch_model.bin")


def _print_table(folder: Path, rounds: int) -> None:
    _run([sys.executable, "-m", "bench.convert", "--make", folder])
    _run(_convert(folder / "bin", folder / "pdparams", "paddlenlp", "pdparams"))
    (folder / "out").mkdir()
    commands = {"cp": _copy(folder, sync=False), "cp + sync": _copy(folder, sync=True)}
    for source, layout, form, *_ in _ROUTES:
        command = _convert(folder / source, folder / "out", layout, form)
        commands[f".{source} → .{form}"] = [*command, "--no-verify"]
        commands[f".{source} → .{form}, verified"] = command
    commands["dry run"] = [*_convert(folder / "safetensors", folder / "out", "paddle", "safetensors"), "--dry-run"]
    costs: dict[str, list[_Cost]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            _settle(folder)
            costs[name].append(_run(command))
    limits = {f".{source} → .{form}": limit for source, _, form, limit, _ in _ROUTES}
    limits |= {f".{source} → .{form}, verified": limit for source, _, form, _, limit in _ROUTES}
    size = (folder / "safetensors/model.safetensors").stat().st_size
    Console(width=120).print(_table(costs, limits, size))


def _table(costs: dict[str, list[_Cost]], limits: dict[str, float], size: int) -> Table:
    title = f"python -m convert: {size / 1e9:.2f} GB, medians of {len(costs['cp'])} rounds"
    table = Table(title=title, title_justify="left")
    for column in ("command", "seconds", "× cp", "limit", "× (cp + sync)", "memory MB", "limit"):
        table.add_column(column, justify="left" if column == "command" else "right")
    for name, found in costs.items():
        seconds, memory = median(cost.seconds for cost in found), max(cost.memory for cost in found)
        ratios = [_ratio(found, costs[partner]) if name != "dry run" else "" for partner in ("cp", "cp + sync")]
        limit = f"{limits[name]}" if name in limits else f"{_DRY_RUN} s" if name == "dry run" else ""
        bound = f"{_MEMORY / 1e6:.0f}" if name in limits else ""
        table.add_row(name, f"{seconds:.2f}", ratios[0], limit, ratios[1], f"{memory / 1e6:.0f}", bound)
    return table


def _ratio(costs: Sequence[_Cost], partners: Sequence[_Cost]) -> str:
    """The median, over the rounds, of a time as a multiple of its partner's."""
    return f"{median(cost.seconds / other.seconds for cost, other in zip(costs, partners, strict=True)):.2f}"


def _copy(folder: Path, *, sync: bool) -> list[object]:
    copy = f"cp '{folder / 'safetensors/model.safetensors'}' '{folder / 'out'}'"
    return ["sh", "-c", f"{copy} && sync '{folder / 'out/model.safetensors'}'" if sync else copy]


def _convert(source: Path, destination: Path, layout: str, form: str) -> list[object]:
    command = [sys.executable, "-m", "convert", "--model", "electra", source, destination]
    return [*command, "--to", layout, "--format", form]


def _settle(folder: Path) -> None:
    """The same start for every command: no output, nothing that waits for the disk, every source in the page cache.

    A virtual machine gives memory that was freed back to its host after two seconds, and a command that gets it before
    is several times as fast: none does.
    """
    for path in (folder / "out").iterdir():
        path.unlink()
    os.sync()
    for form, name in _FILES.items():
        with (folder / form / name).open("rb", buffering=0) as file:
            while file.read(1 << 24):
                pass
    time.sleep(_REST)


def _run(command: Sequence[object]) -> _Cost:
    """Run a command; its seconds and the most memory that it held."""
    started = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with code {process.returncode}")
    return _Cost(seconds, usage.ru_maxrss * 1024)


if __name__ == "__main__":
    main()
