"""The command line: `python -m align STAGE --model NAME`, `python -m align list`."""

import argparse
import io
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console
from rich.table import Table

from align import registry
from align.errors import CannotCompareError
from align.foreign import command as foreign
from align.gates import options as gates
from align.porting import options as porting
from align.recording import command as diff
from align.recording import options as apart
from align.reports import options as reports
from align.selftest import command as selftest
from align.stages import STAGES, Options

if TYPE_CHECKING:
    from align.report import Report

PARITY, NO_PARITY, CANNOT_COMPARE = 0, 1, 2

ALL = "all"

_EXAMPLES = (
    """\
examples:
  python -m align step1 --model funnel
      both frameworks on fake data with trained-scale weights, module by module, in seconds
  python -m align step1 --model electra --task masked_lm --variant base-generator
  python -m align step1 --model electra --checkpoint ./electra-small --json report.json
      a transformers directory (config.json with model.safetensors or pytorch_model.bin)
  python -m align all --model funnel --html report.html
      every stage up to the first that is red, and a page that shows which module is at fault and why
  python -m align step1 --model electra --checkpoint ./electra-small --paddle-checkpoint ./electra-small-paddlenlp
      the same checkpoint in two layouts: each side computes with its own
  python -m align step1 --model electra --checkpoint ./electra-small --text corpus.txt
      a batch tokenised with the checkpoint's own vocabulary
  python -m align step1 --model funnel --batch mine.npz
"""
    + gates.EXAMPLES
    + apart.EXAMPLES
    + """\
  python -m align list
      the models, their tasks and variants
  python -m align selftest --model electra --only 'FW0|CV'
      injected bugs, each of which must be found, named and explained

exit code: 0 parity, 1 no parity, 2 could not compare (one line says why)
"""
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CannotCompareError(f"{message} (see `{self.prog} --help`)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    errors = Console(stderr=True, soft_wrap=True)
    try:
        typed = sys.argv[1:] if arguments is None else list(arguments)
        options = _parser().parse_args(typed, argparse.Namespace(typed=typed))
        if options.command == "selftest":
            return PARITY if selftest.run(options) else NO_PARITY
        if options.command == "compare":
            return _exit_code(foreign.run(options))
        if options.command == "diff":
            return PARITY if diff.run(options) else NO_PARITY
        if options.command == "new":
            return _new(options)
        return _list() if options.command == "list" else _stage(options)
    except (CannotCompareError, OSError) as error:
        errors.print(f"align: {error}", style="red", highlight=False, markup=False)
        return CANNOT_COMPARE
    except KeyboardInterrupt:
        errors.print("align: interrupted", style="red")
        return CANNOT_COMPARE


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m align",
        description="Prove that a PyTorch and a PaddlePaddle network are the same function, or name where they part.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    shape: dict[str, Any] = {"epilog": _EXAMPLES, "formatter_class": argparse.RawDescriptionHelpFormatter}
    for stage, entry in STAGES.items():
        for name in entry.names(stage):
            parser_of_stage = commands.add_parser(name, help=f"{stage}: {entry.summary}", **shape)
            _add_options(parser_of_stage)
            parser_of_stage.set_defaults(stages=(stage,))
    everything = commands.add_parser(ALL, help="all stages in order, up to the first that is red", **shape)
    _add_options(everything)
    everything.add_argument("--keep-going", action="store_true", help="run the later stages too after a red one")
    everything.set_defaults(stages=tuple(STAGES))
    foreign.add_options(commands.add_parser("compare", help=foreign.SUMMARY))
    commands.add_parser("list", help="the registered models with their tasks and variants")
    diff.add_options(commands.add_parser("diff", help=diff.SUMMARY))
    porting.add_options(commands.add_parser("new", help=porting.SUMMARY))
    selftest.add_options(commands.add_parser("selftest", help=selftest.SUMMARY))
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    case = parser.add_argument_group("what is compared")
    case.add_argument("--model", required=True, metavar="NAME", help="the architecture (`python -m align list`)")
    case.add_argument(
        "--task", metavar="T", help="the head; default: the model's first, or the one the checkpoint names"
    )
    case.add_argument("--variant", metavar="V", help="a named configuration; default: tiny")
    case.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="take configuration and weights from a checkpoint directory"
    )
    case.add_argument("--layout", metavar="L", help="the checkpoint's layout, where its files do not tell it")
    case.add_argument("--part", metavar="P", help="what to take of an original checkpoint that holds several models")
    case.add_argument(
        "--paddle-checkpoint",
        type=Path,
        metavar="DIR",
        help="the same checkpoint in another layout, which the Paddle side takes instead",
    )
    case.add_argument("--batch", type=Path, metavar="FILE.npz", help="your own batch: the keyword arguments of forward")
    case.add_argument(
        "--text",
        type=Path,
        metavar="FILE",
        help="a UTF-8 file, one example a line, tokenised with the checkpoint's vocabulary",
    )
    case.add_argument("--batch-size", type=_positive, metavar="N", help="rows of the fake or tokenised batch")
    case.add_argument("--length", type=_positive, metavar="N", help="tokens in a row of the fake or tokenised batch")
    case.add_argument("--seed", type=int, default=0, metavar="N", help="of the fake batch and weights; default: 0")
    training = parser.add_argument_group("training")
    training.add_argument("--steps", type=_positive, default=20, metavar="N", help="training iterations; default: 20")
    training.add_argument("--dropout", type=_probability, metavar="P", help="train with dropout, alike on both sides")
    training.add_argument("--optimizer", metavar="O", help="train with this optimizer, or step only this one")
    output = parser.add_argument_group("what is written")
    reports.add_options(output)
    output.add_argument(
        "--reprod-log",
        type=Path,
        metavar="DIR",
        help="both sides' float32 outputs, in the files that reprod_log compares",
    )
    verbosity = output.add_mutually_exclusive_group()
    verbosity.add_argument("--quiet", action="store_true", help="only the verdict, in one line")
    verbosity.add_argument("--verbose", action="store_true", help="every edge, not only those nearest to their limit")
    gates.add_options(parser)
    apart.add_options(parser)
    place = parser.add_argument_group("where it runs")
    place.add_argument("--in-process", action="store_true", help="both frameworks in this process, for debuggers")
    place.add_argument("--torch-python", metavar="PY", help="the interpreter of the torch worker")
    place.add_argument("--paddle-python", metavar="PY", help="the interpreter of the paddle worker")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def _probability(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a probability below 1")
    return value


def _stage(options: argparse.Namespace) -> int:
    from align.case import resolve

    sources = [name for name in ("batch", "text") if getattr(options, name)]
    if len(sources) == 2:
        raise CannotCompareError("--batch and --text both name a batch: leave one out")
    apart.check(options)
    _check_writable(options)
    case = resolve(
        options.model,
        options.task,
        options.variant,
        options.checkpoint,
        options.layout,
        options.part,
        paddle_checkpoint=options.paddle_checkpoint,
        seed=options.seed,
        batch=options.batch,
        text=options.text,
        batch_size=options.batch_size,
        length=options.length,
    )

    from align.compare import Interpreters, compare_case
    from align.progress import Steps
    from align.reports.text import headline, show, terminal

    gate = gates.make_gates(options, options.model)
    gate.check(case.as_json())
    interpreters = Interpreters(options.in_process, options.torch_python, options.paddle_python)
    choices, steps = Options(options.steps, options.dropout, options.optimizer), Steps(visible=not options.quiet)
    stages, keep_going = gate.stages(options.stages), options.command != ALL or options.keep_going
    if apart.is_named(options):
        report = apart.compare(options, case, stages, choices, interpreters, steps, keep_going, gate)
        if report is None:
            return PARITY
    else:
        report = compare_case(
            case, interpreters, steps, options.reprod_log, stages, choices, keep_going=keep_going, gate=gate
        )
    report = gate.finish(report)
    report = replace(report, command=("python", "-m", "align", *options.typed))
    try:
        reports.write(report, options)
    finally:  # a file that cannot be written does not cost the verdict
        if options.quiet:
            terminal().print(headline(report).append(gate.mark), soft_wrap=True)
        else:
            show(report, terminal(), options.verbose)
    return _exit_code(report)


def _exit_code(report: "Report") -> int:
    return PARITY if report.passed else NO_PARITY if report.is_red else CANNOT_COMPARE


def _check_writable(options: argparse.Namespace) -> None:
    """Refuse before the work, not after it, what could not be written; make the folders that were named."""
    reports.check(options)
    for option, folder in (("--out", options.out), ("--reprod-log", options.reprod_log)):
        try:
            if folder:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotCompareError(
                f"{option} {folder}: {error.strerror}, name a folder that can be written"
            ) from error


def _new(options: argparse.Namespace) -> int:
    from align.porting.command import run
    from align.reports.text import terminal

    for line in run(options):
        terminal().print(line, highlight=False, markup=False, soft_wrap=True)
    return PARITY


def _list() -> int:
    from align.reports.text import terminal

    table = Table(title="registered models", title_justify="left", show_lines=True)
    for column in ("model", "tasks (the first is the default)", "variants"):
        table.add_column(column, overflow="fold")
    for name in registry.names():
        found = registry.architecture(name)
        table.add_row(f"[bold]{name}[/bold]\n{found.summary}", "\n".join(found.tasks), "\n".join(found.variants))
    terminal().print(table)
    return PARITY


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a sign shows another
    sys.exit(main())
