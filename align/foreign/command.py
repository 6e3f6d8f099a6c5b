"""`python -m align compare TORCH PADDLE`: any two modules."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from align.errors import CannotCompareError
from align.files import check_file, refusal
from align.gates import options as gates
from align.recording.arrays import read_arrays
from align.reports import options as reports

if TYPE_CHECKING:
    from align.mapping.links import Map
    from align.report import Report

SUMMARY = "any two modules: package.module:Class or factory on either side"
EXAMPLES = """\
examples:
  python -m align compare transformers:ElectraModel paddlenlp.transformers:ElectraModel
      a small configuration and a batch for both, the map of weights and modules found
  python -m align compare mine.torch_net:Net mine.paddle_net:Net --config sizes.json --batch batch.npz
      sizes.json: {"torch": {"width": 12}, "paddle": {"width": 12}}
  python -m align compare A:Net B:Net --save-map map.toml
      then edit map.toml and go on with --weight-map map.toml
"""
_STAGES = ("forward", "loss", "backward")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument("torch", metavar="TORCH", help="the torch side, as package.module:Class")
    parser.add_argument("paddle", metavar="PADDLE", help="the Paddle side")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help='JSON: {"torch": {…}, "paddle": {…}}, the words of each'
    )
    parser.add_argument(
        "--batch", type=Path, metavar="FILE.npz", help="your own batch: the keyword arguments of forward"
    )
    parser.add_argument("--weight-map", default="auto", metavar="auto|FILE", help="find the map, or read it")
    parser.add_argument("--save-map", type=Path, metavar="FILE", help="write the map as TOML, to be edited and reused")
    parser.add_argument("--stages", default="forward", metavar="S,…", help=f"of {', '.join(_STAGES)}; default: forward")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the batch and the weights; default: 0")
    gates.add_options(parser)
    reports.add_options(parser.add_argument_group("what is written"))
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("--quiet", action="store_true", help="only the verdict, in one line")
    loudness.add_argument("--verbose", action="store_true", help="every edge, not only those nearest to their limit")
    parser.add_argument("--in-process", action="store_true", help="both frameworks in this process, for debuggers")
    parser.add_argument("--torch-python", metavar="PY", help="the interpreter of the torch worker")
    parser.add_argument("--paddle-python", metavar="PY", help="the interpreter of the paddle worker")


def run(options: argparse.Namespace) -> "Report":
    """Compare, print and write; the report.

    Raises:
        CannotCompareError: what was given cannot be read, built, run or matched.
    """
    from align.compare import Interpreters
    from align.foreign.compare import Targets, compare_targets
    from align.mapping.decide import AmbiguousMapError
    from align.mapping.text import rules
    from align.progress import Steps
    from align.reports.text import headline, show, terminal

    reports.check(options)
    check_file("--save-map", options.save_map)
    stages = tuple(options.stages.split(","))
    unknown = [stage for stage in stages if stage not in _STAGES]
    if unknown:
        raise CannotCompareError(f"--stages {options.stages}: choose of {', '.join(_STAGES)}, divided by commas")
    gate = gates.make_gates(options, options.torch)
    targets = Targets(
        options.torch,
        options.paddle,
        _config(options.config),
        _batch(options.batch),
        None if options.weight_map == "auto" else Path(options.weight_map),
        options.seed,
    )
    places = Interpreters(options.in_process, options.torch_python, options.paddle_python)
    try:
        done = compare_targets(targets, places, Steps(visible=not options.quiet), gate.stages(stages), gate=gate)
    except AmbiguousMapError as error:
        _save(options.save_map, error.known)
        raise
    case = {**done.report.case, **({"batch": str(options.batch)} if options.batch else {})}
    gate.check(case)
    report = replace(gate.finish(replace(done.report, case=case)), command=("python", "-m", "align", *options.typed))
    try:
        _save(options.save_map, done.found.weights)
        reports.write(report, options)
    finally:  # a file that cannot be written does not cost the verdict
        console = terminal()
        if options.quiet:
            console.print(headline(report).append(gate.mark), soft_wrap=True)
        else:
            for rule in rules(done.found.weights.links):
                console.print(f"{rule}  [dim]{rule.reason}[/dim]", highlight=False, soft_wrap=True)
            show(report, console, options.verbose)
    return report


def _save(path: Path | None, found: "Map") -> None:
    from align.mapping.text import save_map

    if path:
        with refusal("--save-map", path):
            save_map(path, found)


def _config(path: Path | None) -> dict[str, dict[str, Any]] | None:
    if path is None:
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CannotCompareError(f"--config {path}: {error}") from error
    if not isinstance(found, dict) or not set(found) <= {"torch", "paddle"}:
        raise CannotCompareError(f'--config {path}: it should be {{"torch": {{…}}, "paddle": {{…}}}}')
    return found


def _batch(path: Path | None) -> dict[str, np.ndarray] | None:
    try:
        return None if path is None else dict(read_arrays(path))
    except CannotCompareError as error:
        raise CannotCompareError(f"--batch {error}") from error
