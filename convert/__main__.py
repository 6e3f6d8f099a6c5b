"""python -m convert: bring checkpoints from one layout into another."""

import argparse
import dataclasses
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from convert.errors import ConvertError
from convert.layouts import check_names, names

EXAMPLES = f"""\
models: {", ".join(names())}
layouts: torch, paddle (ours) · transformers · paddlenlp · tf, bert4keras (as the authors published them)

examples:
  python -m convert ./funnel-small ./funnel-small-paddle --to paddle
      a transformers folder (config.json with model.safetensors or pytorch_model.bin) for our Paddle model; the
      architecture is read from config.json
  python -m convert --model electra ./electra-small ./electra-small-pd --to paddlenlp
      the same for PaddleNLP: model_state.pdparams and the tokenizer, to be loaded with from_pretrained
  python -m convert ./electra-small-pd ./back --to transformers --format bin --max-shard-size 2GB
      back again, as pytorch_model-00001-of-0000N.bin with its index
  python -m convert ./electra_small ./generator --to paddle --part generator
      one of the two models in a TensorFlow checkpoint of ELECTRA's authors; config.json is derived
  python -m convert ./funnel-small ./out --to paddle --check-forward
      then run both: our torch model from SRC, our Paddle model from DST, module by module on fake data
  python -m convert --all ./funnels ./funnels-paddle --to paddle --json report.json
      every folder in SRC, each to the folder of the same name in DST, with a table of what became of them
  python -m convert ./funnel-small ./out --to paddle --dry-run
      prove that it would work and show every tensor; write nothing

Every tensor of SRC is mapped or dropped by exactly one rule, or nothing is written. What was written is read back and
compared. plumbline.json, beside it, says what it was made from. In Python: convert.load(ElectraForMaskedLM, DIR).

exit code: 0 done, 1 it did not read back as written or both sides disagree, 2 it could not be done; one line says why
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConvertError(f"{message} (see `{self.prog} --help`)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        return _run(_parser().parse_args(arguments))
    except ConvertError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("stopped")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m convert",
        description="Bring a checkpoint from one layout into another, bit for bit.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SRC", type=Path, help="folder with config.json and the weights")
    parser.add_argument("destination", metavar="DST", type=Path, help="folder to write; made if it is not there")
    parser.add_argument("--to", dest="target", metavar="LAYOUT", required=True, help="DST's layout")
    parser.add_argument("--from", dest="layout", metavar="LAYOUT", help="SRC's layout, where its files do not tell it")
    parser.add_argument("--model", metavar="NAME", help="the architecture, where config.json does not tell it")
    parser.add_argument(
        "--part", metavar="P", help="what to take of an original ELECTRA: discriminator, generator, joint"
    )
    parser.add_argument("--all", action="store_true", help="SRC is a folder of such folders; convert each of them")
    what = parser.add_argument_group("what is written")
    what.add_argument("--format", dest="form", metavar="F", help="safetensors, bin, pdparams or bundle (of tf)")
    what.add_argument("--max-shard-size", metavar="SIZE", help="split into files of at most this size: 500MB, 2GB …")
    what.add_argument("--dtype", choices=["float32"], help="widen float16 and bfloat16 to this, exactly")
    what.add_argument("--stored-as", metavar="T", default="", help="what SRC's unmarked words are: bfloat16 …")
    how = parser.add_argument_group("how")
    how.add_argument("--dry-run", action="store_true", help="plan only: show what would be done, write nothing")
    how.add_argument("--resume", action="store_true", help="go on with what a killed run of the same command began")
    how.add_argument("--no-verify", dest="verify", action="store_false", help="do not read the written files back")
    how.add_argument("--check-forward", action="store_true", help="run both sides on fake data; they must agree")
    how.add_argument("--json", type=Path, metavar="FILE", help="a report for programs")
    return parser


def _run(options: argparse.Namespace) -> int:
    for layout in filter(None, (options.target, options.layout)):
        check_names(options.model, layout)  # an unknown name is reported before any file is looked at
    from convert.command import display, report  # here, since --help needs nothing of it
    from convert.command.job import Job, Options, find_jobs

    if options.json:
        report.check_writable(options.json)
    wanted = Options(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Options)})
    find = find_jobs if options.all else lambda *given: [Job(*given)]
    jobs = find(options.source, options.destination, wanted)
    try:
        for job in jobs:
            job.plan()
        if not options.dry_run:
            with display.progress(jobs) as begin:
                for job in jobs:
                    job.run(begin(job))
    except KeyboardInterrupt:
        pass  # the job that was stopped says so
    if options.json:
        report.write(options.json, jobs)
    if options.all:
        print(display.table(jobs))
    elif options.dry_run and jobs[0].transfer:
        print(display.plan_text(jobs[0]))
    for job in jobs:
        if job.done and not options.all:
            print(display.summary(job))
        if job.error:
            _fail(f"{job.source.name}: {job.error}" if options.all else job.error)
    return max(job.exit_code for job in jobs)


def _fail(message: str) -> int:
    print(f"convert: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a sign shows another
    sys.exit(main())
