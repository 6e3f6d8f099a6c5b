"""ELECTRA's classes in both references."""

from transformers import ElectraConfig

CONFIG = ElectraConfig(
    vocab_size=61,
    embedding_size=12,
    hidden_size=20,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=28,
    max_position_embeddings=19,
    summary_activation="gelu",
)
HEADS = [
    ("ElectraForPreTraining", "ElectraDiscriminator"),
    ("ElectraForMaskedLM", "ElectraGenerator"),
    ("ElectraForSequenceClassification", "ElectraForSequenceClassification"),
    ("ElectraForTokenClassification", "ElectraForTokenClassification"),
    ("ElectraForQuestionAnswering", "ElectraForQuestionAnswering"),
    ("ElectraForMultipleChoice", "ElectraForMultipleChoice"),
    ("ElectraModel", "ElectraModel"),
]
