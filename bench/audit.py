"""Other people's ports: the models that transformers and PaddleNLP both have, compared as they stand.

`python -m bench.audit [NAME ...] [--write docs/audit.md]` compares, for each architecture, the bare model (forward,
backward) and a head with a loss (forward, loss, backward), at a small configuration of distinct sizes. Which classes
those are, how they are configured and called and which weights correspond is all found by `align compare`'s general
mechanism: the names of the folders below are all that is said here.
"""

import argparse
import importlib
import inspect
import re
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType

from align.files import write_text

NAMES = (
    *("albert", "bart", "bert", "bloom", "clip", "convbert", "ctrl", "deberta", "distilbert", "electra", "fnet"),
    *("funnel", "gptj", "llama", "mobilebert", "mpnet", "nystromformer", "opt", "roberta", "roformer", "t5", "xlnet"),
)
_ABSTRACT = re.compile("pre-?trained", re.IGNORECASE)
_PREFERRED = ("LM", "Generation", "SequenceClassification", "")  # of the heads with a loss
_TOLD = 4  # modules that one row speaks of
_BEGIN, _END = "<!-- audit: begin -->", "<!-- audit: end -->"


@dataclass(frozen=True)
class Row:
    """One verdict: what was compared, how it came out, and how to see it again."""

    model: str
    verdict: str  # "green", "red" or "not comparable"
    text: str
    command: str
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.audit", description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into a file, between its two marks")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="architectures that are compared at once")
    parser.add_argument("--full", action="store_true", help="print whole reports too")
    options = parser.parse_args()
    if options.write and tuple(options.names) != NAMES:
        parser.error("--write replaces the whole table, so name no architectures beside it")
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        rows = [row for found in pool.map(partial(audit, full=options.full), options.names) for row in found]
    if options.write:
        write_table(options.write, rows)


def audit(name: str, full: bool = False) -> list[Row]:
    """The rows of one architecture, printed as they come."""
    warnings.filterwarnings("ignore")  # what the references warn of is not ours to mend
    rows = []
    for model, stages in classes(name):
        row = compare(model, stages, full)
        rows.append(row)
        print(f"{row.model:40} {row.verdict:16} {row.seconds:5.1f} s  {row.text}", flush=True)
    return rows


def classes(name: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The bare model and a head with a loss that both packages have, with the stages to run."""
    import paddlenlp.transformers
    import transformers

    theirs = importlib.import_module(f"paddlenlp.transformers.{name}.modeling")
    found = [
        key
        for key, value in vars(theirs).items()
        if inspect.isclass(value) and value.__module__ == theirs.__name__ and hasattr(value, "config_class")
    ]
    both = [
        key
        for key in found
        if _exported(transformers, key) and _exported(paddlenlp.transformers, key) and not _ABSTRACT.search(key)
    ]
    bare = [key for key in both if key.endswith("Model")]
    if bare:
        yield min(bare, key=len), ("forward", "backward")
    labelled = [k for k in both if all(_takes_labels(getattr(m, k)) for m in (transformers, theirs))]
    for word in _PREFERRED:
        chosen = [key for key in labelled if word in key]
        if chosen:
            yield chosen[0], ("forward", "loss", "backward")
            break


def _exported(package: ModuleType, name: str) -> bool:
    try:
        return getattr(package, name, None) is not None
    except RuntimeError:  # what a lazy package has not installed
        return False


def _takes_labels(model: type) -> bool:
    return "labels" in inspect.signature(model.forward).parameters  # type: ignore[attr-defined]


def compare(model: str, stages: Sequence[str], full: bool = False) -> Row:
    """Compare one class of both packages; nothing that goes wrong ends the audit."""
    from align.compare import Interpreters
    from align.errors import CannotCompareError
    from align.foreign.compare import Targets, compare_targets

    targets = Targets(f"transformers:{model}", f"paddlenlp.transformers:{model}")
    command = f"python -m align compare {targets.torch} {targets.paddle} --stages {','.join(stages)}"
    started = time.perf_counter()
    try:
        report = compare_targets(targets, Interpreters(in_process=True), stages=stages).report
    except CannotCompareError as error:
        return Row(model, "not comparable", _line(error), command, time.perf_counter() - started)
    except Exception as error:  # a model of whatever kind, in this process
        text = f"{type(error).__name__}: {_line(error)}"
        return Row(model, "not comparable", text, command, time.perf_counter() - started)
    if full:
        print(f"{report}\n", flush=True, end="")
    verdict = "green" if report.passed else "red"
    return Row(model, verdict, _told(report), command, time.perf_counter() - started)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _told(report: "Report") -> str:  # type: ignore[name-defined]  # noqa: F821
    """The verdict in words: how much agrees, or what is blamed first in each stage and why."""
    if report.passed:
        count = sum(len(stage.verdicts) for stage in report.stages)
        worst = max(v.ratio for stage in report.stages for v in stage.verdicts if v.passed)
        ran = ", ".join(stage.stage for stage in report.stages)
        notes = [
            n for stage in report.stages for n in stage.notes if n.startswith("compared without") or "left out" in n
        ]
        text = f"{count} comparisons agree in {ran}; the worst stands at {worst:.2g} of its limit"
        return "; ".join([text, *dict.fromkeys(notes)])
    told: dict[str, str] = {}
    for stage in report.stages:
        for finding in stage.blame:
            kind = re.sub(r"(?<![^.])\d+(?![^.])", "N", finding.module)
            cause = finding.evidence.get("explanation", {}).get("text")
            why = finding.why.removeprefix("in training mode its values differ already: ")
            told.setdefault(kind, f"{stage.stage}: `{finding.module}`: {why}" + (f" — {cause}" if cause else ""))
    more = len(told) - _TOLD
    return "; ".join([*list(told.values())[:_TOLD], *([f"and {more} more"] if more > 0 else [])])


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Replace what stands between the two marks in a Markdown file by the table."""
    lines = ["| model | verdict | what was found | command |", "|---|---|---|---|"]
    lines += [f"| {row.model} | {row.verdict} | {row.text.replace('|', '/')} | `{row.command}` |" for row in rows]
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2]
    write_text(path, f"{before}{_BEGIN}\n" + "\n".join(lines) + f"\n{_END}{after}")


if __name__ == "__main__":
    main()
