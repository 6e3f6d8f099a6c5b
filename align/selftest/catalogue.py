"""All bugs for one architecture: every file in `kinds` has a function `mutations(site)`."""

import importlib
import pkgutil
from collections import Counter
from functools import cache

from align.selftest import kinds
from align.selftest.mutation import Mutation
from align.selftest.site import survey
from align.stages import STAGES


@cache
def catalogue(model: str, side: str) -> tuple[Mutation, ...]:
    """The bugs of one architecture for one side, in the order of the stages that must find them."""
    site = survey(model, side)
    files = sorted(file.name for file in pkgutil.iter_modules(kinds.__path__))
    found = [m for file in files for m in importlib.import_module(f"{kinds.__name__}.{file}").mutations(site)]
    twice = [name for name, count in Counter(map(identity, found)).items() if count > 1]
    assert not twice, f"two bugs of one name: {twice}"
    order = list(STAGES)
    return tuple(sorted(found, key=lambda m: order.index(m.stage) if m.stage in order else len(order)))


def identity(mutation: Mutation) -> str:
    """What tells a bug from all others of its architecture."""
    options = [f"{key}={value}" for key, value in mutation.config.items()]
    return f"{mutation} at {mutation.blamed} ({', '.join([mutation.stage, mutation.task or '', *options])})"
