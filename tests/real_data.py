"""Where real corpora, vocabularies and data sets lie, for the tests that want them: `PLUMBLINE_DATA`, or beside the
checkout.
"""

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("PLUMBLINE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def needs(name):
    """Skip a test where the folder or file `name` of the real data is not there."""
    return pytest.mark.skipif(not (DATA / name).exists(), reason=f"needs the real {name}: set PLUMBLINE_DATA")
