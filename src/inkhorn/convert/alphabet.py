"""A model of characters that others trained, fitted to our character vocabulary.

Ours is in the order of code points and has ids beyond the characters: pieces of long ones, and `<|endoftext|>`. The
model gets rows for these, made so that they are never written and the odds among the characters stay what they were.
"""

from dataclasses import replace

import numpy as np

from inkhorn.convert.converted import Imported, with_head
from inkhorn.convert.state_dict import Array
from inkhorn.errors import CheckpointError
from inkhorn.tokenizer.char import CharTokenizer

BELOW = 30.0
"""How far the logit of an added row lies below the mean of the others: it is drawn once in 1e13 characters."""


def with_alphabet(imported: Imported, characters: list[str]) -> tuple[Imported, CharTokenizer]:
    """The model with its vocabulary in our form, and the tokenizer.

    Args:
        imported: with as many tokens as there are characters, or already with ours.
        characters: in the order of the model's ids.

    Raises CheckpointError where the two do not belong together.

    """
    tokenizer, config = CharTokenizer(characters), imported.config
    if config.vocab_size == tokenizer.vocab_size and sorted(characters) == characters:
        return imported, tokenizer
    if not config.pre_norm:
        raise CheckpointError("a GPT-1 has no last norm to fit another vocabulary with: give its own --tokenizer")
    if len(characters) != config.vocab_size:
        raise CheckpointError(
            f"the model has {config.vocab_size} tokens, the alphabet {len(characters)} characters: it is not the "
            "alphabet of the text that the model was trained on"
        )
    place = {character: i for i, character in enumerate(characters)}
    order = [place[character] for character in tokenizer.characters]
    added = tokenizer.vocab_size - len(order)
    first = place.get("\n", 0)  # a text begins after its end token as it did after a line break

    def embedding() -> Array:
        wte = imported.tensors["wte.weight"]()
        pieces = np.zeros((added - 1, config.n_embd), np.float32)
        return np.concatenate([wte[order], pieces, wte[first : first + 1]]).astype(np.float32)

    names = ("ln_f.weight", "ln_f.bias", "wte.weight" if config.tie_word_embeddings else "lm_head.weight")
    gain, bias, head = (np.asarray(imported.tensors[name](), np.float32) for name in names)
    rows = np.concatenate([head[order], np.broadcast_to(head.mean(0), (added, config.n_embd))])
    constant = np.zeros(len(rows), np.float32)
    constant[len(order) :] = -BELOW
    made = with_head(imported, gain, bias, rows, constant)
    ends = dict.fromkeys(("bos_token_id", "eos_token_id"), tokenizer.eos_id)
    config = replace(made.config, vocab_size=tokenizer.vocab_size, **ends)
    note = f"{added} ids added to its {len(order)} characters, the last of them <|endoftext|>; they are never written"
    return (
        replace(
            made,
            config=config,
            tensors=made.tensors | {"wte.weight": embedding},
            dtype="F32",
            notes=(*made.notes, note),
        ),
        tokenizer,
    )
