"""Funnel-Transformer (Dai et al., 2020: "Funnel-Transformer: Filtering out Sequential Redundancy …"), in PyTorch.

Post-norm attention over a sequence that is halved from block to block. What is peculiar to it:

- Queries are pooled between blocks. The first layer of a block may still see the unpooled keys (`pool_q_only`).
- No absolute positions, no type embedding: an attention score is content + relative position + same segment. Distances
  are counted in input tokens, however often the sequence has been pooled.
- The CLS token is kept apart (`separate_cls`): it is alone in its window and scores by content only. By its token type,
  which is 2, it is in every segment.
- The decoder repeats each token of the last block, adds the full-length states of the first, and attends on.
- The biases r_w, r_r and r_s are scaled by 1/√d like the queries.
- transformers and PaddleNLP pool the mask of tokens where the authors pool the mask of padding (`mask_pooling`).

Modules and parameters bear the names of transformers' checkpoints. In shapes: B batch, L length, Q queries, K keys,
D model width, N heads, d head width, R relative positions, V vocabulary, C classes or choices; N·d need not be D.
Of an attention mask, 1 is a token and 0 is padding.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

QUERIES = 64  # of an attention at a time, whose scores stay in the processor's cache
MASKED = 1e6  # what the score of a masked key loses
CLS_TYPE = 2
IGNORED = -100  # the label of what no loss counts

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "gelu_new": partial(nn.GELU, approximate="tanh"),
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
}
REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda windows: windows.mean(2),
    "max": lambda windows: windows.amax(2),
    "min": lambda windows: windows.amin(2),
    "first": lambda windows: windows[:, :, 0],
}


def linear(config: FunnelConfig, inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """A Linear as published: weights N(0, 1/(inputs + outputs)) unless `initializer_std` is given, no initial bias."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    std = (inputs + outputs) ** -0.5 if config.initializer_std is None else config.initializer_std
    nn.init.normal_(layer.weight, std=std)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def uniform(config: FunnelConfig, *shape: int) -> nn.Parameter:
    """A parameter of attention as published: U(0, initializer_range)."""
    return nn.Parameter(torch.empty(shape).uniform_(0.0, config.initializer_range))


def chain(**steps: nn.Module) -> nn.Sequential:
    """The steps one after another, each under its name."""
    return nn.Sequential(OrderedDict(steps))


def classifier(config: FunnelConfig, outputs: int) -> nn.Sequential:
    """Linear → tanh → dropout → Linear, for the state of CLS."""
    return chain(
        linear_hidden=linear(config, config.d_model, config.d_model),
        activation=nn.Tanh(),
        dropout=nn.Dropout(config.hidden_dropout),
        linear_out=linear(config, config.d_model, outputs),
    )


class FunnelEmbeddings(nn.Module):
    """Word → LayerNorm → dropout; the row of the pad token starts at zero.

    There is no `padding_idx`: Paddle would zero that row in every forward pass.
    """

    def __init__(self, config: FunnelConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.d_model)
        self.layer_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)
        std = 1.0 if config.initializer_std is None else config.initializer_std
        nn.init.normal_(self.word_embeddings.weight, std=std)
        with torch.no_grad():
            self.word_embeddings.weight[config.pad_token_id].zero_()

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.dropout(self.layer_norm(self.word_embeddings(input_ids)))


class FunnelPooling(nn.Module):
    """Halves a sequence: the mean, max or min of windows of two tokens, or the first of them.

    A CLS kept apart fills the first window, and `truncate_seq` drops the last token to make room. A lone last token is
    its own partner: so it is the mean, max and min of a window cut short.
    """

    def __init__(self, config: FunnelConfig, mode: str) -> None:
        super().__init__()
        self.mode, self.separate_cls, self.truncate_seq = mode, config.separate_cls, config.truncate_seq

    def forward(self, x: Tensor) -> Tensor:
        """(B, L) or (B, L, D) → (B, ⌈L/2⌉) or (B, ⌈L/2⌉, D); with CLS apart but nothing dropped, ⌈(L + 1)/2⌉."""
        if self.separate_cls:
            x = torch.cat([x[:, :1], x[:, :-1] if self.truncate_seq else x], dim=1)
        if x.shape[1] % 2 == 1:
            x = torch.cat([x, x[:, -1:]], dim=1)
        return REDUCTIONS[self.mode](x.unflatten(1, (-1, 2)))


def sinusoids(positions: range, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """sin and cos of positions × frequencies 10000^(−2i / width): each (len(positions), width / 2).

    They are rounded to the dtype of `like` last: an angle of hundreds, rounded to float32, would lose five digits.
    """
    frequencies = [10000 ** (-2 * i / width) for i in range(width // 2)]
    angles = torch.arange(positions.start, positions.stop, positions.step, dtype=torch.float64, device=like.device)
    angles = angles[:, None] * torch.tensor(frequencies, dtype=torch.float64, device=like.device)
    return angles.sin().to(like.dtype), angles.cos().to(like.dtype)


Tokens = tuple[Tensor, Tensor, range]  # types (B, L), mask (B, L), positions
Structure = tuple[Any, Tensor, Tensor | None, Tensor]  # positions, same segment, not CLS, mask of the keys


class FunnelAttentionStructure(nn.Module):
    """All that the attentions of a pass need besides hidden states, for every block at once. It has no parameters."""

    def __init__(self, config: FunnelConfig, num_blocks: int) -> None:
        super().__init__()
        self.num_blocks, self.separate_cls, self.pool_q_only = num_blocks, config.separate_cls, config.pool_q_only
        self.attention_type, self.width = config.attention_type, config.d_model
        self.sin_dropout = nn.Dropout(config.hidden_dropout)
        self.cos_dropout = nn.Dropout(config.hidden_dropout)
        self.pool_types = FunnelPooling(config, "first")
        self.pool_mask = FunnelPooling(config, {"keep": "min", "pad": "max"}[config.mask_pooling])

    def forward(self, token_type_ids: Tensor, mask: Tensor) -> list[tuple[Structure | None, Structure]]:
        """Types and mask are (B, L), the mask in the working dtype. Returns (first, others) for each block.

        `first` is what the first layer of a block that pools attends with, `others` what all other layers attend with:
        positions, same segment (B, Q, K), not CLS (Q, K) or None, mask of the keys (B, K). A block does not pool when
        a single token (and CLS) is left, nor does the first one: `first` is then None.
        """
        tokens = (token_type_ids, mask, range(token_type_ids.shape[1]))
        blocks: list[tuple[Structure | None, Structure]] = [(None, self._between(tokens, tokens))]
        for _ in range(1, self.num_blocks):
            first = None
            if len(tokens[2]) > (2 if self.separate_cls else 1):
                unpooled, tokens = tokens, self._pool(*tokens)
                first = self._between(tokens, unpooled if self.pool_q_only else tokens)
            blocks.append((first, self._between(tokens, tokens)))
        return blocks

    def _pool(self, types: Tensor, mask: Tensor, positions: range) -> Tokens:
        types, mask, stride = self.pool_types(types), self.pool_mask(mask), 2 * positions.step
        start = 1 - stride if self.separate_cls else 0  # a CLS apart stands one stride before the window of token 1
        return types, mask, range(start, start + stride * types.shape[1], stride)

    def _between(self, query: Tokens, key: Tokens) -> Structure:
        (query_types, _, query_at), (key_types, mask, key_at) = query, key
        of_query, of_key = query_types[:, :, None], key_types[:, None, :]
        same_segment = (of_query == of_key) | (of_query == CLS_TYPE) | (of_key == CLS_TYPE)
        not_cls = None
        if self.separate_cls:
            row, column = (torch.arange(len(at), device=mask.device) > 0 for at in (query_at, key_at))
            not_cls = (row[:, None] & column).to(mask.dtype)
        positions = self._factorized if self.attention_type == "factorized" else self._relative_shift
        return positions(query_at, key_at, mask), same_segment, not_cls, mask

    def _relative_shift(self, query: range, key: range, like: Tensor) -> tuple[Tensor, int]:
        """Appendix A.2.1: the encodings [sin, cos] (R, D) of all distances from query to key, the furthest first.

        R = K + shift·Q: the distance from query i to key j stands in row shift·(Q − i) + j.
        """
        shift = query.step // key.step
        furthest = query.start + query.step * len(query) - key.start
        rows = len(key) + shift * len(query)
        sin, cos = sinusoids(range(furthest, furthest - key.step * rows, -key.step), self.width, like)
        return torch.cat([self.sin_dropout(sin), self.cos_dropout(cos)], dim=-1), shift

    def _factorized(self, query: range, key: range, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Appendix A.2.2, sin and cos of a difference taken apart: φ, π (Q, D), which drop out, and ψ, ω (K, D)."""
        sin, cos = sinusoids(query, self.width, like)
        sin, cos = self.sin_dropout(sin), self.cos_dropout(cos)
        phi, pi = torch.cat([sin, sin], dim=-1), torch.cat([cos, cos], dim=-1)
        sin, cos = sinusoids(key, self.width, like)
        return phi, pi, torch.cat([cos, sin], dim=-1), torch.cat([-sin, cos], dim=-1)


def slices(x: Tensor, size: int) -> Iterator[tuple[slice, Tensor]]:
    """`size` rows of (B, L, …) at a time, each with where they stand."""
    starts = range(0, x.shape[1], size)
    return ((slice(start, start + part.shape[1]), part) for start, part in zip(starts, x.split(size, 1), strict=True))


class FunnelPositionScore(nn.Module):
    """q · (kernel applied to the encoding of the distance) for every query and key."""

    def forward(self, query: Tensor, kernel: Tensor, positions: Any) -> Tensor:
        """(B, Q, N, d), (D, N, d) and what FunnelAttentionStructure has for the positions → (B, N, Q, K)."""
        (scores,) = self.parts(query, kernel, positions, size=query.shape[1])
        return scores

    def parts(self, query: Tensor, kernel: Tensor, positions: Any, size: int) -> Iterable[Tensor]:
        """The same for `size` queries at a time."""
        raise NotImplementedError


class FunnelRelativeShiftScore(FunnelPositionScore):
    """q · (R·kernel) for every distance R of these queries; then each row slides to where its own distances begin."""

    def parts(self, query: Tensor, kernel: Tensor, positions: Any, size: int) -> Iterable[Tensor]:
        encoding, shift = positions
        distances = torch.einsum("re,end->rnd", encoding, kernel)
        for at, some in slices(query, size):
            few = distances[shift * (query.shape[1] - at.stop) : len(distances) - shift * at.start]
            (B, Q, N, _), R = some.shape, len(few)
            scores = torch.einsum("bqnd,rnd->nbqr", some, few).reshape(N, B, R, Q)
            scores = scores[:, :, shift:].reshape(N, B, Q, R - shift)  # row i has moved on by shift·(Q − i)
            yield scores[..., : R - shift * Q].transpose(0, 1)


class FunnelFactorizedScore(FunnelPositionScore):
    """The same scores, from the sines and cosines of the two positions: nothing slides, but it takes Q·N·D numbers."""

    def parts(self, query: Tensor, kernel: Tensor, positions: Any, size: int) -> Iterable[Tensor]:
        phi, pi, psi, omega = positions
        for at, some in slices(query, size):
            projected = torch.einsum("bqnd,end->bqne", some, kernel)  # (B, Q, N, D)
            scores = torch.einsum("bqne,ke->bnqk", projected * phi[at, None], psi)
            yield scores + torch.einsum("bqne,ke->bnqk", projected * pi[at, None], omega)


class FunnelSegmentScore(nn.Module):
    """q · embedding[1] where query and key are in one segment, q · embedding[0] where they are not."""

    def forward(self, query: Tensor, embedding: Tensor, same_segment: Tensor) -> Tensor:
        """(B, Q, N, d), (2, N, d), (B, Q, K) → (B, N, Q, K)."""
        different, same = torch.einsum("bqnd,gnd->gbnq", query, embedding)[..., None]
        is_same = same_segment[:, None].to(query.dtype)  # torch.where would take five times as long
        return torch.addcmul(different * (1 - is_same), same, is_same)


class FunnelMaskedSoftmax(nn.Module):
    """softmax(scores − 10⁶·(1 − mask)) over the keys.

    Where no key at all is valid, all would lose the same 10⁶, and with it their last digits: there, nothing is lost.
    """

    def forward(self, scores: Tensor, mask: Tensor) -> Tensor:
        """(B, N, Q, K), (B, K) → (B, N, Q, K)."""
        lost = MASKED * (mask.amax(-1, keepdim=True) - mask)
        return (scores - lost[:, None, None]).softmax(-1)


POSITION_SCORES: dict[str, type[FunnelPositionScore]] = {
    "relative_shift": FunnelRelativeShiftScore,
    "factorized": FunnelFactorizedScore,
}


def divisible(*steps: nn.Module) -> bool:
    """Whether an attention may go by parts of its queries: its steps are those of this file, and nobody looks on."""
    known = (*POSITION_SCORES.values(), FunnelSegmentScore, FunnelMaskedSoftmax, nn.Dropout)
    return all(type(step) in known for step in steps) and not any(
        "forward" in vars(step) or step._forward_hooks or step._forward_pre_hooks or step._backward_hooks
        for step in steps
    )


class FunnelRelMultiheadAttention(nn.Module):
    """LayerNorm(query + post_proj(softmax(content + not CLS · (position + segment)) · v)).

    Where nobody looks on, QUERIES queries at a time: so their scores stay in the processor's cache, and they are not
    multiplied with distances that none of them has. The result is the same.
    """

    def __init__(self, config: FunnelConfig) -> None:
        super().__init__()
        D, N, d = config.d_model, config.n_head, config.d_head
        self.heads, self.scale = (N, d), d**-0.5
        self.q_head = linear(config, D, N * d, bias=False)
        self.k_head = linear(config, D, N * d)
        self.v_head = linear(config, D, N * d)
        self.r_w_bias = uniform(config, N, d)
        self.r_r_bias = uniform(config, N, d)
        self.r_kernel = uniform(config, D, N, d)
        self.r_s_bias = uniform(config, N, d)
        self.seg_embed = uniform(config, 2, N, d)
        self.position_score = POSITION_SCORES[config.attention_type]()
        self.segment_score = FunnelSegmentScore()
        self.softmax = FunnelMaskedSoftmax()
        self.attention_dropout = nn.Dropout(config.attention_dropout)
        self.post_proj = linear(config, N * d, D)
        self.hidden_dropout = nn.Dropout(config.hidden_dropout)
        self.layer_norm = nn.LayerNorm(D, eps=config.layer_norm_eps)

    def forward(self, query: Tensor, context: Tensor, structure: Structure) -> Tensor:
        """(B, Q, D), (B, K, D) and an entry of FunnelAttentionStructure → (B, Q, D)."""
        q = self.q_head(query).unflatten(-1, self.heads)  # (B, Q, N, d)
        k = self.k_head(context).unflatten(-1, self.heads).transpose(1, 2).contiguous()  # (B, N, K, d)
        v = self.v_head(context).unflatten(-1, self.heads).transpose(1, 2).contiguous()
        of_position = (q + self.r_r_bias) * self.scale, self.r_kernel, structure[0]
        size, steps = q.shape[1], (self.position_score, self.segment_score, self.softmax, self.attention_dropout)
        if divisible(*steps):
            size = QUERIES
            parts = self.position_score.parts(*of_position, size)
        else:
            parts = [self.position_score(*of_position)]
        queries = zip(slices(q, size), parts, strict=True)
        mixed = torch.cat(
            [self._mixed(some, k, v, scores, at, *structure[1:]) for (at, some), scores in queries], dim=1
        )
        return self.layer_norm(query + self.hidden_dropout(self.post_proj(mixed.flatten(2))))

    def _mixed(
        self, q: Tensor, k: Tensor, v: Tensor, relative: Tensor, at: slice,
        same_segment: Tensor, not_cls: Tensor | None, mask: Tensor,
    ) -> Tensor:  # fmt: skip
        """The values that the queries `at` attend to, by their position scores (B, N, q, K): (B, q, N, d)."""
        relative = relative + self.segment_score((q + self.r_s_bias) * self.scale, self.seg_embed, same_segment[:, at])
        if not_cls is not None:
            relative *= not_cls[at]
        scores = ((q + self.r_w_bias) * self.scale).transpose(1, 2) @ k.mT
        scores += relative
        attended = self.attention_dropout(self.softmax(scores, mask))
        return (attended @ v).transpose(1, 2)


class FunnelPositionwiseFFN(nn.Module):
    """LayerNorm(x + linear_2(activation(linear_1(x))))."""

    def __init__(self, config: FunnelConfig) -> None:
        super().__init__()
        self.linear_1 = linear(config, config.d_model, config.d_inner)
        self.activation_function = ACTIVATIONS[config.hidden_act]()
        self.activation_dropout = nn.Dropout(config.activation_dropout)
        self.linear_2 = linear(config, config.d_inner, config.d_model)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layer_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)

    def forward(self, hidden: Tensor) -> Tensor:
        inner = self.activation_dropout(self.activation_function(self.linear_1(hidden)))
        return self.layer_norm(hidden + self.dropout(self.linear_2(inner)))


class FunnelLayer(nn.Module):
    """Attention, then feed-forward."""

    def __init__(self, config: FunnelConfig) -> None:
        super().__init__()
        self.attention = FunnelRelMultiheadAttention(config)
        self.ffn = FunnelPositionwiseFFN(config)

    def forward(self, query: Tensor, context: Tensor, structure: Structure) -> Tensor:
        return self.ffn(self.attention(query, context, structure))


class FunnelEncoder(nn.Module):
    """The blocks. Each but the first begins by pooling; each layer is applied `block_repeats` times in a row."""

    def __init__(self, config: FunnelConfig) -> None:
        super().__init__()
        self.block_repeats, self.pool_q_only = config.block_repeats, config.pool_q_only
        self.attention_structure = FunnelAttentionStructure(config, len(config.block_sizes))
        self.pooling = FunnelPooling(config, config.pooling_type)
        self.blocks = nn.ModuleList(
            nn.ModuleList(FunnelLayer(config) for _ in range(size)) for size in config.block_sizes
        )

    def forward(self, hidden: Tensor, token_type_ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, D), (B, L), (B, L) → the last states (B, l, D), and those of the first block (B, L, D).

        Of a first block that repeats its layers it is the state after only as many applications as it has layers, as
        in transformers and PaddleNLP; the authors take its end. All checkpoints apply the layers of that block once.
        """
        structure = self.attention_structure(token_type_ids, mask)
        early = []  # of each block, the state after as many applications as it has layers
        for block, repeats, (first, others) in zip(self.blocks, self.block_repeats, structure, strict=True):
            layers = list(block.children())
            states = self._block(hidden, [layer for layer in layers for _ in range(repeats)], first, others)
            early.append(states[len(layers) - 1])
            hidden = states[-1]
        return hidden, early[0]

    def _block(
        self, hidden: Tensor, layers: list[nn.Module], first: Structure | None, others: Structure
    ) -> list[Tensor]:
        context, structure, states = hidden, others, []
        if first is not None:
            hidden, structure = self.pooling(hidden), first
            context = context if self.pool_q_only else hidden
        for layer in layers:
            hidden = context = layer(hidden, context, structure)
            structure = others
            states.append(hidden)
        return states


class FunnelUpsampling(nn.Module):
    """Repeats every token 2^(blocks − 1) times, except CLS if it is apart, then cuts off or fills up with zeros."""

    def __init__(self, config: FunnelConfig) -> None:
        super().__init__()
        self.repeats, self.apart = 2 ** (len(config.block_sizes) - 1), int(config.separate_cls)

    def forward(self, x: Tensor, length: int) -> Tensor:
        """(B, l, D) → (B, length, D)."""
        tokens = F.pad(x[:, self.apart :].repeat_interleave(self.repeats, dim=1), (0, 0, 0, self.repeats - 1))
        return torch.cat([x[:, : self.apart], tokens], dim=1)[:, :length]


class FunnelDecoder(nn.Module):
    """The last states at full length + those of the first block, and layers that do not pool."""

    def __init__(self, config: FunnelConfig) -> None:
        super().__init__()
        self.attention_structure = FunnelAttentionStructure(config, num_blocks=1)
        self.upsampling = FunnelUpsampling(config)
        self.layers = nn.ModuleList(FunnelLayer(config) for _ in range(config.num_decoder_layers))

    def forward(self, hidden: Tensor, unpooled: Tensor, token_type_ids: Tensor, mask: Tensor) -> Tensor:
        """(B, l, D), (B, L, D), (B, L), (B, L) → (B, L, D)."""
        hidden = self.upsampling(hidden, unpooled.shape[1]) + unpooled
        ((_, structure),) = self.attention_structure(token_type_ids, mask)
        for layer in self.layers:
            hidden = layer(hidden, hidden, structure)
        return hidden


@dataclass(frozen=True)
class FunnelConfig:
    """Every option, under transformers' attribute names; the defaults are those of the checkpoint `small`.

    `mask_pooling` is ours. A pooled token stands for two: is it valid if both of them are ("keep": transformers and
    PaddleNLP take the smallest of the mask of tokens), or if one of them is ("pad": the authors take the smallest of
    the mask of padding)? "keep" loses a last token whose partner is padding; outputs differ at most lengths.

    No `block_repeats` are 1 for each block. `initializer_std` None starts Linear weights from N(0, 1/(in + out)) and
    words from N(0, 1). Raises ValueError for a value that is not supported.
    """

    vocab_size: int = 30522
    block_sizes: tuple[int, ...] = (4, 4, 4)
    block_repeats: tuple[int, ...] = ()
    num_decoder_layers: int = 2
    d_model: int = 768
    n_head: int = 12
    d_head: int = 64
    d_inner: int = 3072
    hidden_act: str = "gelu_new"
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    initializer_range: float = 0.1
    initializer_std: float | None = None
    layer_norm_eps: float = 1e-9
    pooling_type: str = "mean"
    attention_type: str = "relative_shift"
    separate_cls: bool = True
    truncate_seq: bool = True
    pool_q_only: bool = True
    mask_pooling: str = "keep"
    pad_token_id: int = 0
    num_labels: int = 2
    problem_type: str | None = None  # None: regression where num_labels is 1

    def __post_init__(self) -> None:
        sizes = tuple(self.block_sizes)
        repeats = tuple(self.block_repeats or (1,) * len(sizes))
        supported = {
            "block_sizes": bool(sizes) and min(sizes) > 0,
            "block_repeats": len(repeats) == len(sizes) and all(count > 0 for count in repeats),
            "d_model": self.d_model % 2 == 0,  # half of it for sines, half for cosines
            "hidden_act": self.hidden_act in ACTIVATIONS,
            "pooling_type": self.pooling_type in ("mean", "max"),
            "attention_type": self.attention_type in POSITION_SCORES,
            "mask_pooling": self.mask_pooling in ("keep", "pad"),
            "pad_token_id": self.pad_token_id in range(self.vocab_size),
            "problem_type": self.problem_type in (None, "single_label_classification", "regression"),
        }
        _refuse({name: getattr(self, name) for name, known in supported.items() if not known})
        object.__setattr__(self, "block_sizes", sizes)
        object.__setattr__(self, "block_repeats", repeats)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> FunnelConfig:
        """Read the contents of a transformers `config.json`.

        Raises ValueError("unsupported: {…}") for keys that are not known and for values that ask for another function.
        """
        options = {field.name for field in fields(cls)}
        extra = {key: value for key, value in raw.items() if key not in options and key not in _HARMLESS}
        _refuse({key: value for key, value in extra.items() if key not in _FIXED or value != _FIXED[key]})
        given = {key: value for key, value in raw.items() if key in options}
        if given.get("pad_token_id", 0) is None:  # so it stands in transformers' defaults; their tokenizer pads with 0
            del given["pad_token_id"]
        labels = {"num_labels": len(raw["id2label"])} if raw.get("id2label") else {}
        return cls(**labels | given)


def _refuse(unsupported: Mapping[str, Any]) -> None:
    if unsupported:
        raise ValueError(f"unsupported: {unsupported}")


# fmt: off
_FIXED = {  # keys of a config.json that have one value here: another would be another function
    "model_type": "funnel", "tie_word_embeddings": True, "is_decoder": False, "is_encoder_decoder": False,
    "add_cross_attention": False, "tie_encoder_decoder": False, "pruned_heads": {},
}
_HARMLESS = {  # keys that leave the function alone: book-keeping, limits nothing reads, outputs, memory, generation
    "_attn_implementation_autoset", "_name_or_path", "_num_labels", "architectures", "dtype", "finetuning_task",
    "id2label", "label2id", "prefix", "task_specific_params", "tf_legacy_loss", "tokenizer_class", "torch_dtype",
    "torchscript", "transformers_version", "use_bfloat16", "max_position_embeddings", "type_vocab_size",
    "output_attentions", "output_hidden_states", "return_dict", "use_cache", "chunk_size_feed_forward",
    "cross_attention_hidden_size", "bos_token_id", "eos_token_id", "sep_token_id", "decoder_start_token_id",
    "forced_bos_token_id", "forced_eos_token_id", "bad_words_ids", "begin_suppress_tokens", "diversity_penalty",
    "do_sample", "early_stopping", "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty",
    "length_penalty", "max_length", "min_length", "no_repeat_ngram_size", "num_beam_groups", "num_beams",
    "num_return_sequences", "output_scores", "remove_invalid_values", "repetition_penalty", "return_dict_in_generate",
    "suppress_tokens", "temperature", "top_k", "top_p", "typical_p",
}

# The "-base" checkpoints were saved without a decoder, for the tasks that need none; their sizes are the same.
VARIANTS = {
    "tiny": {"vocab_size": 199, "block_sizes": (2, 1, 2), "block_repeats": (1, 2, 1), "d_model": 28, "n_head": 4,
             "d_head": 6, "d_inner": 44, "num_labels": 5},
    "small": {},
    "small-base": {},
    "medium": {"block_sizes": (6, 3, 3), "block_repeats": (1, 2, 2)},
    "medium-base": {"block_sizes": (6, 3, 3), "block_repeats": (1, 2, 2)},
    "intermediate": {"block_sizes": (6, 6, 6)},
    "intermediate-base": {"block_sizes": (6, 6, 6)},
    "large": {"block_sizes": (8, 8, 8), "d_model": 1024, "n_head": 16, "d_inner": 4096},
    "large-base": {"block_sizes": (8, 8, 8), "d_model": 1024, "n_head": 16, "d_inner": 4096},
    "xlarge": {"block_sizes": (10, 10, 10), "d_model": 1024, "n_head": 16, "d_inner": 4096},
    "xlarge-base": {"block_sizes": (10, 10, 10), "d_model": 1024, "n_head": 16, "d_inner": 4096},
}
# fmt: on

TASKS = {
    "masked_lm": "FunnelForMaskedLM",
    "replaced_token": "FunnelForPreTraining",
    "sequence_classification": "FunnelForSequenceClassification",
    "token_classification": "FunnelForTokenClassification",
    "question_answering": "FunnelForQuestionAnswering",
    "multiple_choice": "FunnelForMultipleChoice",
    "backbone": "FunnelModel",
    "encoder": "FunnelBaseModel",
}

Maybe = Tensor | None
Output = dict[str, Tensor]


class FunnelBaseModel(nn.Module):
    """The encoder alone: pooled states, CLS first."""

    def __init__(self, config: FunnelConfig) -> None:
        super().__init__()
        self.embeddings = FunnelEmbeddings(config)
        self.encoder = FunnelEncoder(config)

    def forward(self, input_ids: Tensor, attention_mask: Maybe = None, token_type_ids: Maybe = None) -> Output:
        """Ids, mask and types are (B, L). Returns {"last_hidden_state": (B, l, D)}, l as FunnelPooling makes it."""
        return {"last_hidden_state": self._encode(input_ids, attention_mask, token_type_ids)[0]}

    def _encode(self, input_ids: Tensor, mask: Maybe, token_type_ids: Maybe) -> tuple[Tensor, ...]:
        """The two outputs of the encoder, then types and mask with their defaults filled in: no types, no padding."""
        hidden = self.embeddings(input_ids)
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        mask = (torch.ones_like(input_ids) if mask is None else mask).to(hidden.dtype)
        return *self.encoder(hidden, types, mask), types, mask


class FunnelModel(FunnelBaseModel):
    """Encoder and decoder: a state for every token."""

    def __init__(self, config: FunnelConfig) -> None:
        super().__init__(config)
        self.decoder = FunnelDecoder(config)

    def forward(self, input_ids: Tensor, attention_mask: Maybe = None, token_type_ids: Maybe = None) -> Output:
        """Ids, mask and types are (B, L). Returns {"last_hidden_state": (B, L, D)}."""
        return {"last_hidden_state": self.decoder(*self._encode(input_ids, attention_mask, token_type_ids))}


def _mean(losses: Tensor, kept: Tensor) -> Tensor:
    """The mean of the kept losses; 0 where none is kept."""
    return torch.where(kept, losses, 0.0).sum() / kept.sum().clamp(min=1)


class CrossEntropy(nn.Module):
    """The mean of −log softmax(logits)[label] over the labels that are not −100; 0 if there are none.

    Written out because of Paddle, whose own function cuts each loss off at 64 and counts ignored labels in its mean.
    """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(…, C), (…) → ()."""
        kept = labels != IGNORED
        chosen = logits.gather(-1, torch.where(kept, labels, 0).unsqueeze(-1)).squeeze(-1)
        return _mean(logits.logsumexp(-1) - chosen, kept)


class SquaredError(nn.Module):
    """The mean squared error of a regression."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (logits - labels.to(logits.dtype).reshape(logits.shape)).square().mean()


class BinaryCrossEntropy(nn.Module):
    """The mean of −log sigmoid(±logit), + for label 1 and − for label 0, over the labels that are not −100."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")
        return _mean(losses, labels != IGNORED)


class FunnelWithHead(nn.Module):
    """A model, the `head` from its states to logits that a subclass gives, and a loss of logits and labels."""

    def __init__(self, funnel: FunnelBaseModel, loss: nn.Module) -> None:
        super().__init__()
        self.funnel = funnel
        self.loss = loss

    def forward(
        self, input_ids: Tensor, attention_mask: Maybe = None, token_type_ids: Maybe = None, labels: Maybe = None
    ) -> Output:
        """Ids, mask and types are (B, L), or (B, C, L) for C choices. Returns {"logits"}, and "loss" if given labels.

        The subclass says what shape logits and labels have. Labels of −100 are ignored.
        """
        texts = [None if x is None else x.flatten(0, -2) for x in (input_ids, attention_mask, token_type_ids)]
        hidden = self.funnel(*texts)["last_hidden_state"].unflatten(0, input_ids.shape[:-1])
        output = {"logits": self.head(hidden)}
        if labels is not None:
            output["loss"] = self.loss(output["logits"], self.targets(labels, attention_mask))
        return output

    def head(self, hidden: Tensor) -> Tensor:
        raise NotImplementedError

    def targets(self, labels: Tensor, attention_mask: Maybe) -> Tensor:
        return labels


class FunnelTiedDecoder(nn.Module):
    """x · weightᵀ + bias, where the weight (V, D) is the word embeddings' own."""

    def __init__(self, config: FunnelConfig, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.weight, self.bias)


class FunnelForMaskedLM(FunnelWithHead):
    """Words, by the full model: logits (B, L, V), labels (B, L). The head's weight is that of the word embeddings."""

    def __init__(self, config: FunnelConfig) -> None:
        super().__init__(FunnelModel(config), CrossEntropy())
        self.lm_head = FunnelTiedDecoder(config, self.funnel.embeddings.word_embeddings.weight)

    def head(self, hidden: Tensor) -> Tensor:
        return self.lm_head(hidden)


class FunnelForPreTraining(FunnelWithHead):
    """Replaced token detection by the full model: logits and labels (B, L). Padding has no part in the loss.

    A label is 1 where the token was replaced, as in transformers; in the authors' code it is 0 there.
    """

    def __init__(self, config: FunnelConfig) -> None:
        super().__init__(FunnelModel(config), BinaryCrossEntropy())
        self.discriminator_predictions = chain(
            dense=linear(config, config.d_model, config.d_model),
            activation=ACTIVATIONS[config.hidden_act](),
            dense_prediction=linear(config, config.d_model, 1),
        )

    def head(self, hidden: Tensor) -> Tensor:
        return self.discriminator_predictions(hidden).squeeze(-1)

    def targets(self, labels: Tensor, attention_mask: Maybe) -> Tensor:
        return labels if attention_mask is None else torch.where(attention_mask == 1, labels, IGNORED)


class FunnelForSequenceClassification(FunnelWithHead):
    """The class of a text, or in a regression its numbers, by the encoder: logits (B, C), labels (B) or (B, C)."""

    def __init__(self, config: FunnelConfig) -> None:
        regression = config.problem_type == "regression" or (config.problem_type is None and config.num_labels == 1)
        super().__init__(FunnelBaseModel(config), SquaredError() if regression else CrossEntropy())
        self.classifier = classifier(config, config.num_labels)

    def head(self, hidden: Tensor) -> Tensor:
        return self.classifier(hidden[:, 0])


class FunnelForTokenClassification(FunnelWithHead):
    """The class of every token, by the full model: logits (B, L, C), labels (B, L)."""

    def __init__(self, config: FunnelConfig) -> None:
        super().__init__(FunnelModel(config), CrossEntropy())
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.classifier = linear(config, config.d_model, config.num_labels)

    def head(self, hidden: Tensor) -> Tensor:
        return self.classifier(self.dropout(hidden))


class FunnelForMultipleChoice(FunnelWithHead):
    """The right one of C texts, by the encoder: logits (B, C), labels (B)."""

    def __init__(self, config: FunnelConfig) -> None:
        super().__init__(FunnelBaseModel(config), CrossEntropy())
        self.classifier = classifier(config, 1)

    def head(self, hidden: Tensor) -> Tensor:
        return self.classifier(hidden[:, :, 0]).squeeze(-1)  # (B, C, L, D) → (B, C)


class FunnelForQuestionAnswering(nn.Module):
    """Where an answer starts and ends, by the full model."""

    def __init__(self, config: FunnelConfig) -> None:
        super().__init__()
        self.funnel = FunnelModel(config)
        self.qa_outputs = linear(config, config.d_model, 2)
        self.loss = CrossEntropy()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Maybe = None,
        token_type_ids: Maybe = None,
        start_positions: Maybe = None,
        end_positions: Maybe = None,
    ) -> Output:
        """Ids, mask and types are (B, L), positions (B). Returns "start_logits" and "end_logits" (B, L), and "loss"."""
        hidden = self.funnel(input_ids, attention_mask, token_type_ids)["last_hidden_state"]
        start, end = self.qa_outputs(hidden).unbind(-1)  # (B, L, 2) → 2 × (B, L)
        output = {"start_logits": start, "end_logits": end}
        if start_positions is not None and end_positions is not None:
            starts, ends = (torch.where(at < start.shape[1], at, IGNORED) for at in (start_positions, end_positions))
            output["loss"] = (self.loss(start, starts) + self.loss(end, ends)) / 2
        return output
