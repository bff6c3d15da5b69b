"""NAME=VALUE overrides of a recipe's fields."""

import ast
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from inkhorn.config.recipes import Recipe
from inkhorn.errors import nearest

TOKENIZER_FIELDS = ("tokenizer", "vocab_size")


def override(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    """Apply `name=value` overrides to a recipe's tokenizer, its architecture and its training config."""
    parts: dict[str, Any] = {"architecture": recipe.architecture, "train": recipe.train}
    known = {field.name: part for part, value in parts.items() for field in fields(value)}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or name not in {*known, *TOKENIZER_FIELDS}:
            guess = nearest(name, {*known, *TOKENIZER_FIELDS})
            sys.exit(f"--set {change}: give NAME=VALUE with a field of the recipe: {guess}")
        if name in TOKENIZER_FIELDS:
            parts[name] = parse_value(text)
        else:
            parts[known[name]] = replace(parts[known[name]], **{name: parse_value(text)})
    return replace(recipe, **parts)


def parse_value(text: str) -> Any:
    """Parse a Python literal; any other text is returned as a string."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
