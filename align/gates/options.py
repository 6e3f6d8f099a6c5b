"""The gates on the command line: they can only tighten."""

import argparse
import math
from pathlib import Path

from align.gates.baseline import FACTOR, Baseline
from align.gates.gate import Gates
from align.gates.settings import NAME, read_settings
from align.gates.thresholds import Thresholds

EXAMPLES = """\
  python -m align step1 --model funnel --max-diff 1e-5 --mean-diff 1e-6
      on top of the verdict, the classical thresholds on what the models return in float32
  python -m align step1 --model funnel --baseline parity/funnel.json --baseline-factor 2
      red too where a ratio has more than doubled since that report
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    gates = parser.add_argument_group(
        "gates", f"Limits are only widened, and stages skipped, by {NAME} or [tool.plumbline] in pyproject.toml."
    )
    gates.add_argument(
        "--max-diff", type=limit, metavar="X", help="the outputs, in float32 from end to end, differ by at most X too"
    )
    gates.add_argument("--mean-diff", type=limit, metavar="X", help="and by at most X on average")
    gates.add_argument("--baseline", type=Path, metavar="FILE", help="a report of --json that nothing may fall behind")
    gates.add_argument(
        "--baseline-factor",
        type=_factor,
        default=FACTOR,
        metavar="F",
        help=f"how many times its ratio in the baseline a comparison may reach; default: {FACTOR:g}",
    )


def named(options: argparse.Namespace) -> list[str]:
    """The options that ask for a gate."""
    gates = {"--max-diff": options.max_diff, "--mean-diff": options.mean_diff, "--baseline": options.baseline}
    return [option for option, value in gates.items() if value is not None]


def make_gates(options: argparse.Namespace, model: str) -> Gates:
    """The gates that the command line and the project's settings name. CannotCompareError if these cannot be read.

    `model` is a registered model, or the torch side of any two.
    """
    baseline = Baseline.read(options.baseline, options.baseline_factor) if options.baseline else None
    return Gates(read_settings(model), Thresholds(options.max_diff, options.mean_diff), baseline)


def limit(text: str) -> float:
    """A limit: a finite number from 0 on."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a limit: give a number from 0 on")
    return value


def _factor(text: str) -> float:
    value = _number(text)
    if not 1 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a factor: give a number from 1 on")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
