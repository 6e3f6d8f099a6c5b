"""BERT's classes in both references."""

from transformers import BertConfig

CONFIG = BertConfig(
    vocab_size=61,
    hidden_size=20,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=28,
    max_position_embeddings=19,
)
HEADS = [
    ("BertForPreTraining", "BertForPretraining"),
    ("BertForMaskedLM", "BertForMaskedLM"),
    ("BertForSequenceClassification", "BertForSequenceClassification"),
    ("BertForTokenClassification", "BertForTokenClassification"),
    ("BertForQuestionAnswering", "BertForQuestionAnswering"),
    ("BertForMultipleChoice", "BertForMultipleChoice"),
    ("BertModel", "BertModel"),
]
PADDLENLP_CONFIG = {"num_choices": 2}
PADDLENLP_UNUSED = dict.fromkeys(  # these heads read every hidden state
    ("BertForMaskedLM", "BertForTokenClassification", "BertForQuestionAnswering"),
    ("bert.pooler.dense.weight", "bert.pooler.dense.bias"),
)
