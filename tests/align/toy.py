"""A small network written twice, to test the harness on something that is no transformer of ours.

It has what an edge can be: a nested composite, scores with a mask added, a tied decoder, an additive mask made
outside, a constant table, a module that runs twice, integer inputs, keyword arguments and a dictionary of outputs.
All sizes differ.
"""

import math

import numpy as np
import paddle
import torch

VOCABULARY, WIDTH, INNER, BATCH, LENGTH = 23, 12, 20, 3, 7


class TorchMixer(torch.nn.Module):
    """One head of masked attention between positions."""

    def __init__(self):
        super().__init__()
        self.query = torch.nn.Linear(WIDTH, INNER)
        self.key = torch.nn.Linear(WIDTH, INNER)
        self.value = torch.nn.Linear(WIDTH, INNER)
        self.out = torch.nn.Linear(INNER, WIDTH)
        self.softmax = torch.nn.Softmax(-1)
        self.dropout = torch.nn.Dropout(0.1)

    def forward(self, hidden, mask):
        scores = self.query(hidden) @ self.key(hidden).transpose(-1, -2) / math.sqrt(INNER) + mask
        return self.out(self.dropout(self.softmax(scores)) @ self.value(hidden))


class TorchBlock(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.mixer = TorchMixer()
        self.norm = torch.nn.LayerNorm(WIDTH, eps=1e-12)
        self.act = torch.nn.GELU()

    def forward(self, hidden, *, mask):
        return self.act(self.norm(hidden + self.mixer(hidden, mask)))


class TorchNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(VOCABULARY, WIDTH)
        self.block = TorchBlock()
        self.head = torch.nn.Linear(WIDTH, 5)

    def forward(self, input_ids, attention_mask):
        dtype = self.head.weight.dtype
        mask = (1 - attention_mask).to(dtype)[:, None, :] * torch.finfo(dtype).min
        hidden = self.embedding(input_ids)
        for _ in range(2):
            hidden = self.block(hidden, mask=mask)
        return {"logits": self.head(hidden), "hidden": (hidden,)}


class PaddleMixer(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.query = paddle.nn.Linear(WIDTH, INNER)
        self.key = paddle.nn.Linear(WIDTH, INNER)
        self.value = paddle.nn.Linear(WIDTH, INNER)
        self.out = paddle.nn.Linear(INNER, WIDTH)
        self.softmax = paddle.nn.Softmax(-1)
        self.dropout = paddle.nn.Dropout(0.1)
        self.scale = 1 / math.sqrt(INNER)

    def forward(self, hidden, mask):
        scores = paddle.matmul(self.query(hidden), self.key(hidden), transpose_y=True) * self.scale + mask
        return self.out(paddle.matmul(self.dropout(self.softmax(scores)), self.value(hidden)))


class PaddleBlock(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.mixer = PaddleMixer()
        self.norm = paddle.nn.LayerNorm(WIDTH, epsilon=1e-12)
        self.act = paddle.nn.GELU()

    def forward(self, hidden, *, mask):
        return self.act(self.norm(hidden + self.mixer(hidden, mask)))


class PaddleNet(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.embedding = paddle.nn.Embedding(VOCABULARY, WIDTH)
        self.block = PaddleBlock()
        self.head = paddle.nn.Linear(WIDTH, 5)

    def forward(self, input_ids, attention_mask):
        dtype = self.head.weight.dtype
        least = float(np.finfo(str(dtype).rpartition(".")[2]).min)
        mask = (1 - attention_mask).astype(dtype).unsqueeze(1) * least
        hidden = self.embedding(input_ids)
        for _ in range(2):
            hidden = self.block(hidden, mask=mask)
        return {"logits": self.head(hidden), "hidden": (hidden,)}


def batch(seed=0, shortest=3):
    """Fake inputs with padding; `shortest` tokens are left in the last row."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, VOCABULARY, (BATCH, LENGTH))
    mask = (np.arange(LENGTH) < np.array([[LENGTH], [LENGTH - 2], [shortest]])).astype(np.int64)
    return {"input_ids": ids, "attention_mask": mask}
