"""Facts of the shipped models that tests need, so that another default model changes none of the tests."""

from inkhorn.checkpoint.resolve import SHIPPED
from inkhorn.tokenizer.char import CharTokenizer
from inkhorn.tokenizer.load import load_tokenizer

CHARACTERS = next(name for name, folder in SHIPPED.items() if isinstance(load_tokenizer(folder), CharTokenizer))
"""The name of a shipped model whose tokens are characters."""
