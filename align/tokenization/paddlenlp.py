"""PaddleNLP's tokenisers."""

import warnings

from align.tokenization import PackageTokenizer, Recipe, class_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import paddlenlp
    from paddlenlp.utils.log import logger


def tokenizers(recipe: Recipe) -> dict[str, PackageTokenizer]:
    """The tokeniser of an architecture by name.

    It finds its pieces in the lower-cased text if it has kept `do_lower_case`. Some classes have not: in a text with
    capitals they lose their place, or raise IndexError, and are not asked for offsets.
    """
    logger.set_level("CRITICAL")
    kind = class_of(paddlenlp.transformers, recipe.model, "Tokenizer")
    tokenizer = kind(str(recipe.vocabulary), **recipe.options)
    return {"paddlenlp": PackageTokenizer(tokenizer, offsets=hasattr(tokenizer, "do_lower_case"))}
