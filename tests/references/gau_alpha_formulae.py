"""GAU-α by its formulae, one token at a time, in NumPy float64: an oracle that no framework and no port had a hand in.

Sources: Hua et al. 2022 (gated attention units, relu(a)²/l), Su et al. 2021 (rotation), Su 2022 (softmax_plus, GAU-α).
"""

import math

import numpy as np

ERF = np.vectorize(math.erf)
ACTIVATIONS = {
    "swish": lambda x: x / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x * (1 + ERF(x / math.sqrt(2))) / 2,
    "gelu_new": lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
}


def hidden_states(state, config, ids, mask=None, types=None, prefix=""):
    """(B, L, D) from the weights `state` by name, all in float64; the mask is (B, L) or (B, L, L)."""
    state = {name.removeprefix(prefix): np.asarray(value, np.float64) for name, value in state.items()}
    mask = ids != config.pad_token_id if mask is None else mask
    types = np.zeros_like(ids) if types is None else types
    return np.stack([_sequence(state, config, *row) for row in zip(ids, mask, types, strict=True)])


def _sequence(state, config, ids, mask, types):
    words, kinds = (state[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "token_type"))
    x = [_norm(words[token] + kinds[kind], config) for token, kind in zip(ids, types, strict=True)]
    for number in range(config.num_hidden_layers):
        layer = {
            name.removeprefix(f"encoder.layer.{number}.gau."): value
            for name, value in state.items()
            if name.startswith(f"encoder.layer.{number}.gau.")
        }
        x = [_norm(old + new, config) for old, new in zip(x, _unit(layer, config, x, mask), strict=True)]
    return np.stack(x)


def _norm(x, config):
    return x / math.sqrt(sum(value * value for value in x) / len(x) + config.layer_norm_eps)


def _unit(layer, config, x, mask):
    e, s = config.intermediate_size, config.attention_key_size
    inner = [ACTIVATIONS[config.hidden_act](layer["i_dense.weight"] @ row + layer.get("i_dense.bias", 0)) for row in x]
    gates, values, shared = [r[:e] for r in inner], [r[e : 2 * e] for r in inner], [r[2 * e :] for r in inner]
    q, k = (
        [
            _turned(layer[f"{side}_scaleoffset.weight"] * z + layer.get(f"{side}_scaleoffset.bias", 0), position)
            for position, z in enumerate(shared)
        ]
        for side in "qk"
    )
    outputs = []
    for query, gate in enumerate(gates):
        seen = mask if mask.ndim == 1 else mask[query]
        scores = np.array([q[query] @ key for key in k]) / (math.sqrt(s) if config.attention_scale else 1)
        weights = _normalised(scores, seen != 0, config.normalization)
        summed = sum(weight * value for weight, value in zip(weights, values, strict=True))
        outputs.append(layer["o_dense.weight"] @ (gate * summed) + layer.get("o_dense.bias", 0))
    return outputs


def _turned(x, position):
    """Each pair times the matrix of a rotation by position · 10000^(−2i/s)."""
    turned = np.empty_like(x)
    for i in range(0, len(x), 2):
        angle = position * 10000 ** (-i / len(x))
        turned[i] = x[i] * math.cos(angle) - x[i + 1] * math.sin(angle)
        turned[i + 1] = x[i] * math.sin(angle) + x[i + 1] * math.cos(angle)
    return turned


def _normalised(scores, seen, method):
    """The weights of one query. Without a key to see, the softmaxes are uniform and squared_relu is 0."""
    keys = int(seen.sum())
    if method == "squared_relu":
        return np.where(seen, np.maximum(scores, 0) ** 2, 0) / max(keys, 1)
    if keys == 0:
        return np.full(len(scores), 1 / len(scores))
    if method == "softmax_plus":
        scores = scores * math.log(keys) / math.log(512)
    weights = np.where(seen, np.exp(scores - scores[seen].max()), 0)
    return weights / weights.sum()
