"""Names and shapes of the TensorFlow checkpoint of GAU-α, spelled out apart from our table.

Source: ZhuiyiTechnology/GAU-alpha (models.py), chinese_GAU-alpha-char_L-24_H-768.
"""

BASE = (12000, 768, 1536, 128, 24)  # vocabulary, hidden, intermediate, key size, layers
SMALL = (61, 20, 28, 12, 2)


def gau_alpha(words, hidden, inner, key, layers):
    """Name → shape, without what training leaves there."""
    shapes = {
        "bert/embeddings/word_embeddings": (words, hidden),
        "bert/embeddings/token_type_embeddings": (2, hidden),
    }
    for layer in (f"GAU_alpha/encoder/layer_{number}/gau" for number in range(layers)):
        shapes |= {
            f"{layer}/i_dense/kernel": (hidden, 2 * inner + key),
            f"{layer}/o_dense/kernel": (inner, hidden),
            f"{layer}/q_scaleoffset/gamma": (key,),
            f"{layer}/k_scaleoffset/gamma": (key,),
        }
    return shapes
