"""One small network in torch, and in Paddle as several people would have written it: other names, other packing."""

import math

import numpy as np
import paddle
import paddle.nn.functional as F
import torch

VOCABULARY, WIDTH, HEADS, INNER, BATCH, LENGTH = 23, 12, 2, 20, 3, 7


class TorchAttention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.query = torch.nn.Linear(WIDTH, WIDTH)
        self.key = torch.nn.Linear(WIDTH, WIDTH)
        self.value = torch.nn.Linear(WIDTH, WIDTH)
        self.output = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, hidden, mask):
        q, k, v = (m(hidden).unflatten(-1, (HEADS, -1)).transpose(1, 2) for m in (self.query, self.key, self.value))
        scores = q @ k.transpose(-1, -2) / math.sqrt(WIDTH // HEADS) + mask
        return self.output((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class TorchBlock(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = TorchAttention()
        self.norm1 = torch.nn.LayerNorm(WIDTH, eps=1e-6)
        self.up = torch.nn.Linear(WIDTH, INNER)
        self.down = torch.nn.Linear(INNER, WIDTH)
        self.norm2 = torch.nn.LayerNorm(WIDTH, eps=1e-6)

    def forward(self, hidden, mask):
        hidden = self.norm1(hidden + self.attention(hidden, mask))
        return self.norm2(hidden + self.down(torch.relu(self.up(hidden))))


class TorchNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(VOCABULARY, WIDTH)
        self.layers = torch.nn.ModuleList(TorchBlock() for _ in range(2))
        self.head = torch.nn.Linear(WIDTH, 5)

    def forward(self, input_ids, attention_mask):
        hidden = self.embedding(input_ids)
        mask = (1 - attention_mask).to(hidden.dtype)[:, None, None, :] * -1e9
        for layer in self.layers:
            hidden = layer(hidden, mask)
        return {"logits": self.head(hidden), "hidden": hidden}


def heads(x):
    return x.reshape([*x.shape[:2], HEADS, -1]).transpose([0, 2, 1, 3])


def attend(q, k, v, mask):
    q, k, v = map(heads, (q, k, v))
    scores = paddle.matmul(q, k, transpose_y=True) / math.sqrt(WIDTH // HEADS) + mask
    out = paddle.matmul(F.softmax(scores), v).transpose([0, 2, 1, 3])
    return out.reshape([*out.shape[:2], -1])


class TorchTied(torch.nn.Module):
    """The output layer is the table, read the other way."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(VOCABULARY, WIDTH)
        self.output = torch.nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, input_ids):
        return {"logits": self.output(torch.tanh(self.embedding(input_ids)))}


class Tied(paddle.nn.Layer):
    class Back(paddle.nn.Layer):
        def __init__(self, weight):
            super().__init__()
            self.shared = weight

        def forward(self, x):
            return paddle.matmul(x, self.shared, transpose_y=True)

    def __init__(self):
        super().__init__()
        self.table = paddle.nn.Embedding(VOCABULARY, WIDTH)
        self.back = self.Back(self.table.weight)

    def forward(self, input_ids):
        return {"logits": self.back(paddle.tanh(self.table(input_ids)))}


class Alike(paddle.nn.Layer):
    """Names that say the same in other words."""

    def __init__(self):
        super().__init__()
        self.q_proj = paddle.nn.Linear(WIDTH, WIDTH)
        self.k_proj = paddle.nn.Linear(WIDTH, WIDTH)
        self.v_proj = paddle.nn.Linear(WIDTH, WIDTH)
        self.out_proj = paddle.nn.Linear(WIDTH, WIDTH)

    def forward(self, mask, x):
        return self.out_proj(attend(self.q_proj(x), self.k_proj(x), self.v_proj(x), mask))


class Unlike(paddle.nn.Layer):
    """Names that say nothing, in another order of registration and of calls."""

    def __init__(self):
        super().__init__()
        self.alpha = paddle.nn.Linear(WIDTH, WIDTH)  # the output
        self.gamma = paddle.nn.Linear(WIDTH, WIDTH)  # the value
        self.delta = paddle.nn.Linear(WIDTH, WIDTH)  # the query
        self.omega = paddle.nn.Linear(WIDTH, WIDTH)  # the key

    def forward(self, mask, x):
        v, k, q = self.gamma(x), self.omega(x), self.delta(x)
        return self.alpha(attend(q, k, v, mask))


class Packed(paddle.nn.Layer):
    """One projection for all three, one after the other."""

    def __init__(self):
        super().__init__()
        self.qkv = paddle.nn.Linear(WIDTH, 3 * WIDTH)
        self.out = paddle.nn.Linear(WIDTH, WIDTH)

    def forward(self, mask, x):
        return self.out(attend(*self.qkv(x).chunk(3, -1), mask))


class Alternating(Packed):
    """One projection for all three, head by head, the value first."""

    def forward(self, mask, x):
        packed = self.qkv(x).reshape([*x.shape[:2], HEADS, 3, -1])
        v, q, k = (packed[:, :, :, i].flatten(2) for i in range(3))
        return self.out(attend(q, k, v, mask))


class Raw(Alike):
    """Square matrices that are stored as torch stores them, though no class says so."""

    def __init__(self):
        super().__init__()
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, Transposed())


class Transposed(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.weight = self.create_parameter([WIDTH, WIDTH])
        self.bias = self.create_parameter([WIDTH], is_bias=True)

    def forward(self, x):
        return paddle.matmul(x, self.weight, transpose_y=True) + self.bias


class Block(paddle.nn.Layer):
    def __init__(self, attention):
        super().__init__()
        self.mix = attention()
        self.ln_1 = paddle.nn.LayerNorm(WIDTH, epsilon=1e-6)
        self.mlp = paddle.nn.Sequential(
            paddle.nn.Linear(WIDTH, INNER), paddle.nn.ReLU(), paddle.nn.Linear(INNER, WIDTH)
        )
        self.ln_2 = paddle.nn.LayerNorm(WIDTH, epsilon=1e-6)

    def forward(self, x, mask):
        x = self.ln_1(x + self.mix(mask, x))
        return self.ln_2(x + self.mlp(x))


class Net(paddle.nn.Layer):
    """The same network; it returns a tuple, and its blocks are counted from 1."""

    def __init__(self, attention=Alike):
        super().__init__()
        self.classify = paddle.nn.Linear(WIDTH, 5)
        self.block1 = Block(attention)
        self.block2 = Block(attention)
        self.wte = paddle.nn.Embedding(VOCABULARY, WIDTH)

    def forward(self, input_ids, attention_mask):
        x = self.wte(input_ids)
        mask = (1 - attention_mask).astype(x.dtype).unsqueeze([1, 2]) * -1e9
        x = self.block2(self.block1(x, mask), mask)
        return self.classify(x), x


class TorchRecurrent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(VOCABULARY, WIDTH)
        self.lstm = torch.nn.LSTM(WIDTH, INNER, batch_first=True, bidirectional=True)
        self.norm = torch.nn.BatchNorm1d(2 * INNER)

    def forward(self, input_ids):
        hidden, _ = self.lstm(self.embedding(input_ids))
        return self.norm(hidden.transpose(1, 2))


class Recurrent(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.table = paddle.nn.Embedding(VOCABULARY, WIDTH)
        self.rnn = paddle.nn.LSTM(WIDTH, INNER, direction="bidirect")
        self.bn = paddle.nn.BatchNorm1D(2 * INNER)

    def forward(self, input_ids):
        hidden, _ = self.rnn(self.table(input_ids))
        return self.bn(hidden.transpose([0, 2, 1]))


class TorchSum(torch.nn.Module):
    """Two projections that nothing tells apart."""

    def __init__(self):
        super().__init__()
        self.left = torch.nn.Linear(WIDTH, INNER)
        self.right = torch.nn.Linear(WIDTH, INNER)

    def forward(self, x):
        return self.left(x) + self.right(x)


class Sum(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.one = paddle.nn.Linear(WIDTH, INNER)
        self.two = paddle.nn.Linear(WIDTH, INNER)

    def forward(self, x):
        return self.one(x) + self.two(x)


def batch():
    generator = np.random.default_rng(0)
    ids = generator.integers(0, VOCABULARY, (BATCH, LENGTH))
    mask = (np.arange(LENGTH) < np.array([[LENGTH], [LENGTH - 2], [3]])).astype(np.int64)
    return {"input_ids": ids, "attention_mask": mask}
