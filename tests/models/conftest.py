"""Every test draws the same numbers, whichever tests ran before it in its process."""

import paddle
import pytest
import torch


@pytest.fixture(autouse=True)
def seeds():
    torch.manual_seed(0)
    paddle.seed(0)
