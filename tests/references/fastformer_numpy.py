"""Fast Transformer and Fastformer in NumPy, an example and a head at a time: an oracle apart from both frameworks.

Written from the formulae of Wu et al. (2021) and of the two versions, in float64, for clarity alone. `state` is a state
dict of the torch layout as arrays, whose names are all that this has in common with the models.
"""

import numpy as np
from scipy.special import erf


def below(state, prefix):
    """What stands below `prefix` in a state dict, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def affine(state, name, x):
    return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", 0.0)


def layer_norm(state, name, x, eps):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2


def softmax(scores):
    e = np.exp(scores - scores.max())
    return e / e.sum()


def only_attended(scores, attended):
    """Softmax over the attended tokens; where there are none, all tokens weigh the same."""
    if not attended.any():
        return np.full(len(scores), 1 / len(scores))
    weights = np.zeros(len(scores))
    weights[attended] = softmax(scores[attended])
    return weights


def pooled(state, x, attended):
    """The additive pooler of one example: (L, D) → (D,)."""
    e = np.exp(affine(state, "att_fc2", np.tanh(affine(state, "att_fc1", x)))[:, 0])
    e = np.where(attended, e, 0.0)
    return sum(weight * token for weight, token in zip(e / (e.sum() + 1e-8), x, strict=True))


# --- Fast Transformer ---


def turned(x):
    """(L, d): the pairs of neighbours in the first half, as complex numbers, turned by position × frequency."""
    length, width = x.shape
    half = width // 2
    pairs = x[:, :half].reshape(length, half // 2, 2)
    frequencies = 10000.0 ** (-2 * np.arange(half // 2) / half)
    waves = np.exp(1j * np.outer(np.arange(length), frequencies))
    numbers = (pairs[..., 0] + 1j * pairs[..., 1]) * waves
    return np.concatenate([np.stack([numbers.real, numbers.imag], -1).reshape(length, half), x[:, half:]], -1)


def unturned(x):
    return x


def summed_in_pairs(x):
    return x.reshape(*x.shape[:-1], -1, 2).sum(-1)


def fast_attention(state, x, attended, heads, rotary):
    """One example: (L, D) → (L, D)."""
    turn, fold = (turned, summed_in_pairs) if rotary else (unturned, unturned)
    projections = np.split(state["to_qkv.weight"], 3)
    outputs = []
    for head in range(heads):
        q, k, v = (x @ np.split(projection, heads)[head].T for projection in projections)
        root = np.sqrt(q.shape[-1])
        alpha = only_attended(q @ state["to_q_attn_logits.weight"][0] / root, attended)
        global_q = alpha @ turn(q)
        beta = only_attended(fold(k * global_q) @ state["to_k_attn_logits.weight"][0] / root, attended)
        global_k = beta @ turn(k)
        outputs.append(affine(state, "to_r", fold(turn(v) * global_k)) + q)
    return affine(state, "to_out", np.concatenate(outputs, -1))


def fast_transformer(state, ids, mask, *, heads, rotary, eps=1e-5):
    """Hidden states (B, L, D) after the last layer."""
    found = []
    for row, attended in zip(ids, mask == 1, strict=True):
        x = state["token_emb.weight"][row]
        if "abs_pos_emb.weight" in state:
            x = x + state["abs_pos_emb.weight"][: len(row)]
        depth = sum(name.endswith(".0.fn.to_qkv.weight") for name in state)
        for layer in (below(state, f"layers.{number}.") for number in range(depth)):
            y = layer_norm(layer, "0.norm", x, eps)
            x = x + fast_attention(below(layer, "0.fn."), y, attended, heads, rotary)
            y = layer_norm(layer, "1.norm", x, eps)
            x = x + affine(layer, "1.fn.2", gelu(affine(layer, "1.fn.0", y)))
        found.append(x)
    return np.array(found)


def fast_transformer_logits(state, ids, mask, *, eps=1e-5, **options):
    """The language model's (B, L, V)."""
    hidden = fast_transformer(state, ids, mask, eps=eps, **options)
    return affine(state, "to_logits.1", layer_norm(state, "to_logits.0", hidden, eps))


def fast_transformer_classes(state, ids, mask, *, pool_padding, **options):
    """The classifier's logits (B, C)."""
    inner = below(state, "fastformer_model.")
    hidden = fast_transformer(inner, ids, mask, **options)
    counted = np.ones_like(mask) if pool_padding else mask
    vectors = [pooled(below(inner, "pooler."), x, row == 1) for x, row in zip(hidden, counted, strict=True)]
    return affine(state, "dense_linear", np.array(vectors))


# --- Fastformer ---


def additive_attention(state, x, mask, heads):
    """One example (paper, section 3.1): (L, D) → (L, D). Value and query are one."""
    query, key = affine(state, "query", x), affine(state, "key", x)
    columns = np.split(np.arange(query.shape[-1]), heads)
    root = np.sqrt(len(columns[0]))
    lost = 10000.0 * (1 - mask)
    alpha = affine(state, "query_att", query) / root - lost[:, None]
    global_q = np.concatenate([softmax(alpha[:, head]) @ query[:, own] for head, own in enumerate(columns)])
    p = key * global_q
    beta = affine(state, "key_att", p) / root - lost[:, None]
    global_k = np.concatenate([softmax(beta[:, head]) @ p[:, own] for head, own in enumerate(columns)])
    return affine(state, "transform", query * global_k) + query


def fastformer(state, ids, mask, *, heads, activation=gelu):
    """Hidden states (B, L, D) and pooled ones (B, D)."""
    inner = below(state, "fastformer_model.")
    depth = sum(name.endswith(".query_att.weight") for name in inner)
    hidden, vectors = [], []
    for row, attended in zip(ids, mask, strict=True):
        x = state["word_embedding.weight"][row] + inner["position_embeddings.weight"][: len(row)]
        x = layer_norm(inner, "LayerNorm", x, 1e-12)
        for layer in (below(inner, f"encoders.{number}.") for number in range(depth)):
            y = additive_attention(below(layer, "attention.self."), x, attended, heads)
            x = layer_norm(layer, "attention.output.LayerNorm", x + affine(layer, "attention.output.dense", y), 1e-12)
            y = affine(layer, "output.dense", activation(affine(layer, "intermediate.dense", x)))
            x = layer_norm(layer, "output.LayerNorm", x + y, 1e-12)
        hidden.append(x)
        vectors.append(pooled(below(inner, "poolers.0."), x, attended == 1))
    return np.array(hidden), np.array(vectors)


def fastformer_classes(state, ids, mask, **options):
    """The classifier's logits (B, C)."""
    return affine(state, "dense_linear", fastformer(state, ids, mask, **options)[1])


# --- losses ---


def cross_entropy(logits, labels):
    """The mean of −log softmax(logits)[label] over the labels that are not −100."""
    kept = labels != -100
    return np.mean([-np.log(softmax(row)[label]) for row, label in zip(logits[kept], labels[kept], strict=True)])
