"""Plumbline's harness: proves that a PyTorch and a PaddlePaddle network are the same function, or names where they
are not.

`python -m align step1 --model funnel` compares a registered architecture; `align.compare(torch_module, paddle_module,
batch)` compares two live modules. Importing this package imports neither framework.
"""

from align.compare import assert_parity, compare
from align.errors import CannotCompareError
from align.report import Report
from align.stage import StageReport

__all__ = ["CannotCompareError", "Report", "StageReport", "assert_parity", "compare"]
