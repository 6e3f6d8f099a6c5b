"""RoFormer's classes in both references."""

from transformers import RoFormerConfig

CONFIG = RoFormerConfig(
    vocab_size=61,
    embedding_size=12,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=28,
    max_position_embeddings=19,
    summary_type="first",
    summary_use_proj=True,
    summary_activation="tanh",
    num_choices=2,  # PaddleNLP folds the choices by it, and has no default
)
HEADS = [
    ("RoFormerForMaskedLM", "RoFormerForMaskedLM"),
    ("RoFormerForSequenceClassification", "RoFormerForSequenceClassification"),
    ("RoFormerForTokenClassification", "RoFormerForTokenClassification"),
    ("RoFormerForQuestionAnswering", "RoFormerForQuestionAnswering"),
    ("RoFormerForMultipleChoice", "RoFormerForMultipleChoice"),
    ("RoFormerModel", "RoFormerModel"),
]
# transformers' table of positions; PaddleNLP's pooler, where transformers' model has nothing in its place
THEIRS = r"(roformer\.)?(encoder\.embed_positions\.weight|pooler\.dense\.(weight|bias))"
