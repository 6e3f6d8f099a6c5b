"""Each true cause is named, and nothing that only looks like it."""

import re

import pytest

from align.explain import explain
from tests.align.explain import cases_values  # noqa: F401 — its cases join those of cases_modules
from tests.align.explain.cases_modules import CASES


@pytest.mark.parametrize(("make", "pattern"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_cause_is_named(make, pattern):
    found = explain(make())
    assert found is not None
    assert re.search(pattern, found.text), found.text
    assert found.residual <= 1e-9
