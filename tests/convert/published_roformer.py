"""Names and shapes of the authors' TensorFlow checkpoints of both RoFormers, spelled out apart from our tables.

Sources: bojone/bert4keras (models.py: `variable_mapping` of BERT, RoFormer, RoFormerV2), which wrote them.
"""

FIRST = {  # vocabulary, embedding, hidden, inner, layers
    "chinese-small": (50000, 384, 384, 1536, 6),
    "chinese-base": (50000, 768, 768, 3072, 12),
    "chinese-char-small": (12000, 384, 384, 1536, 6),
    "chinese-char-base": (12000, 768, 768, 3072, 12),
}
SIM = {"chinese-sim-char-small": FIRST["chinese-char-small"], "chinese-sim-char-base": FIRST["chinese-char-base"]}
SECOND = {"small": (12000, 384, 1536, 6), "base": (12000, 768, 3072, 12), "large": (12000, 1024, 4096, 24)}


def dense(name, inputs, outputs, bias=True):
    return {f"{name}/kernel": (inputs, outputs)} | ({f"{name}/bias": (outputs,)} if bias else {})


def norm(name, width):
    return {f"{name}/gamma": (width,), f"{name}/beta": (width,)}


def layers(hidden, inner, count, bias):
    """BERT's names of the dense layers."""
    shapes = {}
    for layer in (f"bert/encoder/layer_{number}" for number in range(count)):
        for part in ("self/query", "self/key", "self/value", "output/dense"):
            shapes |= dense(f"{layer}/attention/{part}", hidden, hidden, bias)
        shapes |= dense(f"{layer}/intermediate/dense", hidden, inner, bias)
        shapes |= dense(f"{layer}/output/dense", inner, hidden, bias)
    return shapes


def roformer(words, embedding, hidden, inner, count, pooler=False):
    """Name → shape of a RoFormer with its head for words, and with a pooler if it is a RoFormer-Sim."""
    shapes = {
        "bert/embeddings/word_embeddings": (words, embedding),
        "bert/embeddings/token_type_embeddings": (2, embedding),
        **norm("bert/embeddings/LayerNorm", embedding),
        **(dense("bert/encoder/embedding_hidden_mapping_in", embedding, hidden) if embedding != hidden else {}),
        **layers(hidden, inner, count, bias=True),
        **dense("cls/predictions/transform/dense", hidden, embedding),
        **norm("cls/predictions/transform/LayerNorm", embedding),
        "cls/predictions/output_bias": (words,),
        **(dense("bert/pooler/dense", hidden, hidden) if pooler else {}),
    }
    for layer in (f"bert/encoder/layer_{number}" for number in range(count)):
        shapes |= norm(f"{layer}/attention/output/LayerNorm", hidden) | norm(f"{layer}/output/LayerNorm", hidden)
    return shapes


def roformer_v2(words, hidden, inner, count):
    """Name → shape of a RoFormerV2, which has no parameters but matrices."""
    return {
        "bert/embeddings/word_embeddings": (words, hidden),
        "bert/embeddings/token_type_embeddings": (2, hidden),
        **layers(hidden, inner, count, bias=False),
    }
