"""PaddleNLP's tokenisers."""

import warnings

from align.tokenization import PackageTokenizer, Recipe, class_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import paddlenlp
    from paddlenlp.utils.log import logger


def tokenizers(recipe: Recipe) -> dict[str, PackageTokenizer]:
    """The tokeniser of an architecture by name."""
    logger.set_level("CRITICAL")
    kind = class_of(paddlenlp.transformers, recipe.model, "Tokenizer")
    return {"paddlenlp": PackageTokenizer(kind(str(recipe.vocabulary), **recipe.options), offsets=True)}
