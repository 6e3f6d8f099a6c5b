"""`python -m align new`: what it is asked with."""

import argparse
from pathlib import Path

TITLES = {  # of tasks, as they stand in the names of classes
    "masked_lm": "MaskedLM",
    "sequence_classification": "SequenceClassification",
    "token_classification": "TokenClassification",
    "backbone": "Backbone",
}
SUMMARY = "the files of a new architecture, from your torch file: drafts of the Paddle side, the tables and the test"
EXAMPLES = """\
examples:
  python -m align new fnet --from fnet.py
      writes ports/: the torch file with the registry's part, a draft of the Paddle file, the weight table, the
      specification of the fake data and a test; prints what is left to write, line by line, and the next command
  python -m align new fnet --from models.py:FNet --task masked_lm --into .
      one module of several, the task named, into another folder (here: the checkout of Plumbline itself)

docs/porting.md ports an architecture this way from nothing to `align all` green.
exit code: 0 written, 2 not written (one line says why)
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument("name", metavar="NAME", help="the architecture's name in the registry, as gau_alpha")
    parser.add_argument(
        "--from",
        required=True,
        metavar="FILE.py[:Class]",
        dest="source",
        help="the torch file, and the module in it where it has several",
    )
    parser.add_argument(
        "--task", choices=TITLES, metavar="T", help=f"{', '.join(TITLES)}; default: what its outputs tell"
    )
    parser.add_argument(
        "--into", type=Path, metavar="DIR", help="where the files go; default: ports, or what PLUMBLINE_PORTS names"
    )
    parser.add_argument("--force", action="store_true", help="overwrite files that are there")
    parser.add_argument("--torch-python", metavar="PY", help="the interpreter that runs the torch file")
