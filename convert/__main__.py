"""python -m convert: bring a checkpoint from one layout into another."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from convert.checkpoint import open_checkpoint
from convert.errors import ConvertError
from convert.layouts import names, rules
from convert.transfer import Transfer, VerificationError, plan_transfer

EXAMPLES = f"""\
models: {", ".join(names())}
layouts: torch, paddle (ours) · transformers · paddlenlp

examples:
  python -m convert --model funnel ./funnel-small ./funnel-small-paddle --to paddle
      a transformers folder (config.json with model.safetensors or pytorch_model.bin) for our Paddle model
  python -m convert --model electra ./electra-small ./electra-small-pd --to paddlenlp
      the same for PaddleNLP: model_state.pdparams, to be loaded with from_pretrained
  python -m convert --model electra ./electra-small-pd ./back --from paddlenlp --to transformers
  python -m convert --model funnel ./funnel-small ./out --to paddle --dry-run
      prove that it would work and show every tensor; write nothing

Every tensor of SRC is mapped or dropped by exactly one rule, or nothing is written. What was written is read back and
compared. Exit code 0: done. 1: it did not read back as written. 2: it could not be converted, and the message says why.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _convert(options)
    except ConvertError as error:
        return _fail(2, str(error))
    except VerificationError as error:
        return _fail(1, str(error))
    except KeyboardInterrupt:
        return _fail(2, "stopped; nothing was written")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m convert",
        description="Bring a checkpoint from one layout into another, bit for bit.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", required=True, metavar="NAME", help="the architecture")
    parser.add_argument("source", metavar="SRC", type=Path, help="folder with config.json and the weights")
    parser.add_argument("destination", metavar="DST", type=Path, help="folder to write; made if it is not there")
    parser.add_argument("--from", dest="layout", metavar="LAYOUT", help="SRC's layout (guessed when left out)")
    parser.add_argument("--to", dest="target", metavar="LAYOUT", required=True, help="DST's layout")
    parser.add_argument("--dtype", choices=["float32"], help="widen float16 and bfloat16 to this, exactly")
    parser.add_argument("--dry-run", action="store_true", help="plan only: show what would be done, write nothing")
    parser.add_argument("--no-verify", action="store_true", help="do not read the written file back")
    return parser


def _convert(options: argparse.Namespace) -> int:
    started = time.perf_counter()
    for layout in filter(None, (options.target, options.layout)):
        rules(options.model, layout)  # an unknown name is reported before any file is looked at
    source = open_checkpoint(options.source, options.layout)
    transfer = plan_transfer(source, options.model, options.target, options.dtype)
    if options.dry_run:
        print(*(f"{step.rule}  {step.source} → {step.target} {step.shape}" for step in transfer.plan.steps), sep="\n")
    else:
        with _progress(transfer.nbytes) as advance:
            transfer.run(options.destination, not options.no_verify, advance)
    print(_summary(options, transfer, time.perf_counter() - started))
    return 0


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], object]]:
    """A bar on the terminal while bytes are written; silent where standard error is no terminal."""
    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("convert", total=total)
        yield lambda count: bar.advance(task, count)


def _summary(options: argparse.Namespace, transfer: Transfer, seconds: float) -> str:
    done = "would write" if options.dry_run else "wrote" if options.no_verify else "wrote and verified"
    used = ", ".join(f"{count} {kind}" for kind, count in sorted(transfer.plan.rules_used.items()))
    dropped = "".join(f"\ndropped {name}: {why}" for name, why in transfer.plan.dropped.items())
    size = f"{len(transfer.tensors)} tensors, {transfer.nbytes / 1e6:.1f} MB"
    route = f"{options.model}, {transfer.source.layout} → {transfer.target}"
    return f"{route}: {done} {size} in {seconds:.1f} s to {options.destination} (rules: {used}){dropped}"


def _fail(code: int, message: str) -> int:
    print(f"convert: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
