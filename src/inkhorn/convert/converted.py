"""A converted checkpoint, and changes of its output head through the final LayerNorm: biases and added rows."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from inkhorn.checkpoint.tensor_file import Array
from inkhorn.checkpoint.weights import Dtype
from inkhorn.config.model import ModelConfig
from inkhorn.errors import CheckpointError
from inkhorn.tokenizer.char import CharTokenizer

NORM_BIAS = 0.25
"""`fold_head` sets each element of ln_f's bias to this: large enough to carry the constants, beside a deviation of 1"""

UNUSED_LOGIT = 30.0
"""how far an added row's logit lies below the mean of the others: the token is sampled once in 1e13 characters"""


@dataclass(frozen=True)
class ConvertedModel:
    """A checkpoint of another project with this project's names and shapes."""

    source: str  # the project that saved it
    config: ModelConfig  # its config
    tensors: dict[str, Callable[[], Array]]  # for each tensor of `config.tensor_specs()` a function that reads it
    dtype: Dtype = "float32"  # type of the values in the source file
    notes: tuple[str, ...] = ()  # what a user should know about the conversion


def with_head(model: ConvertedModel, gain: Array, bias: Array, head: Array, head_bias: Array) -> ConvertedModel:
    """The model with a new head (V, C) with bias (V,), after a final norm with this gain and bias, both (C,)."""
    head, norm_bias = fold_head(gain, bias, head, head_bias)
    tensors = model.tensors | {
        "ln_f.weight": lambda: np.ones_like(norm_bias),
        "ln_f.bias": lambda: norm_bias,
        "lm_head.weight": lambda: head,
    }
    return replace(model, config=replace(model.config, tie_word_embeddings=False), tensors=tensors)


def fold_head(gain: Array, bias: Array, head: Array, head_bias: Array) -> tuple[Array, Array]:
    """A head (V, C) without bias, and the bias (C,) of a final norm with gain 1, that give the same logits.

    LayerNorm's output x has mean 0 before gain and bias, so the component of a head's row along (1, ..., 1) contributes
    only through the norm's bias. With every element of that bias at NORM_BIAS, adding t (1, ..., 1) to a row adds
    t C NORM_BIAS to its logit whatever x is, which can represent any constant. This holds for any vocabulary size; a
    least-squares fit of ln_f.bias would be exact only for V <= C.
    """
    wide = (head * gain).astype(np.float64)  # (V, C): the gain moves into the head
    constant = head.astype(np.float64) @ bias + head_bias  # (V,)
    rows = wide - wide.mean(1, keepdims=True) + (constant / (head.shape[1] * NORM_BIAS))[:, None]  # (V, C)
    return rows.astype(np.float32), np.full(head.shape[1], NORM_BIAS, np.float32)


def with_char_vocabulary(model: ConvertedModel, characters: list[str]) -> tuple[ConvertedModel, CharTokenizer]:
    """A character-level model with its vocabulary as CharTokenizer orders it, and that tokenizer.

    CharTokenizer sorts characters by code point, and has additional ids: bytes of multi-byte characters, and
    `<|endoftext|>`. The model gets rows for these that are practically never sampled; the distribution over the
    characters does not change.

    Args:
        model: with one token per character, or with this vocabulary already.
        characters: in the order of the model's token ids.

    Raises:
        CheckpointError: the model does not have as many tokens as there are characters, or is a GPT-1.
    """
    tokenizer, config = CharTokenizer(characters), model.config
    is_ours = model.source in ("Inkhorn", "GPT-2", "GPT-1")  # others have no <|endoftext|> beside the characters
    if is_ours and config.vocab_size == tokenizer.vocab_size and sorted(characters) == characters:
        return model, tokenizer
    if not config.pre_norm:
        raise CheckpointError("a GPT-1 has no final norm, which a new vocabulary needs: give its own with --tokenizer")
    if len(characters) != config.vocab_size:
        raise CheckpointError(
            f"the model has {config.vocab_size} tokens, but the text has {len(characters)} different characters: it is "
            "not the alphabet that the model was trained on"
        )
    index = {character: i for i, character in enumerate(characters)}
    order = [index[character] for character in tokenizer.characters]
    added = tokenizer.vocab_size - len(order)
    newline = index.get("\n", 0)  # <|endoftext|> gets the newline's embedding: a text starts like a new line

    def embedding() -> Array:
        wte = model.tensors["wte.weight"]()
        pieces = np.zeros((added - 1, config.n_embd), np.float32)
        return np.concatenate([wte[order], pieces, wte[newline : newline + 1]]).astype(np.float32)

    names = ("ln_f.weight", "ln_f.bias", "wte.weight" if config.tie_word_embeddings else "lm_head.weight")
    gain, bias, head = (np.asarray(model.tensors[name](), np.float32) for name in names)
    rows = np.concatenate([head[order], np.broadcast_to(head.mean(0), (added, config.n_embd))])
    constant = np.zeros(len(rows), np.float32)
    constant[len(order) :] = -UNUSED_LOGIT
    converted = with_head(model, gain, bias, rows, constant)
    config = replace(
        converted.config,
        vocab_size=tokenizer.vocab_size,
        bos_token_id=tokenizer.eos_id,
        eos_token_id=tokenizer.eos_id,
    )
    note = f"{added} token ids added to {len(order)} characters, the last one <|endoftext|>; they are never sampled"
    tensors = converted.tensors | {"wte.weight": embedding}
    notes = (*converted.notes, note)
    return replace(converted, config=config, tensors=tensors, dtype="float32", notes=notes), tokenizer
