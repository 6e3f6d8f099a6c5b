"""The benchmark of speed compares equal functions. Here it runs on the tiny variants, without a look at the times."""

import pytest

from align import registry
from align.case import resolve

FRAMEWORKS = ("torch", "paddle")
ALONE = {
    "torch": {"fast_transformer", "fastformer", "gau_alpha", "roformer_v2"},
    "paddle": {"fast_transformer", "fastformer", "gau_alpha"},
}


@pytest.mark.filterwarnings("ignore")  # of the references
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("model", registry.names())
def test_ours_and_the_reference_give_the_same(model, framework, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which the benchmark would set for the processes that follow
    from bench.speed import TOLERANCE, measure

    case = resolve(model, "backbone", batch_size=2, length=16)
    about = {"framework": framework, "model": model, "variant": case.variant, "config": case.raw_config}
    found = measure({**about, "shape": (2, 16), "folder": tmp_path, "rounds": 1})
    assert min(found["seconds"].values()) > 0
    assert ("reference" in found["seconds"]) == (model not in ALONE[framework])
    if model not in ALONE[framework]:
        assert found["difference"] <= TOLERANCE
