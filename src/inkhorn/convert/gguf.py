"""Export of a GPT-2 to a GGUF file for llama.cpp and the programs built on it.

Tensor names are those of llama.cpp's "gpt2" (config/tensors.py); matrices are [out, in]. The vocabulary is written as a
byte-level BPE, a character vocabulary too: its merges only build characters of more than one byte.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import numpy as np

from inkhorn.checkpoint.model_card import read_license
from inkhorn.checkpoint.run_folder import STEP_FOLDER
from inkhorn.checkpoint.tensor_file import Array
from inkhorn.config.model import ModelConfig
from inkhorn.config.tensors import TensorSpec
from inkhorn.convert.formats import open_checkpoint
from inkhorn.errors import CheckpointError
from inkhorn.tokenizer.base import check_vocab_size
from inkhorn.tokenizer.char import CharTokenizer
from inkhorn.tokenizer.load import effective_spec, load_tokenizer
from inkhorn.utils.files import atomic_write

GgufType = Literal["f32", "f16", "q8_0"]

_FILE_TYPES = {"f32": 0, "f16": 1, "q8_0": 7}  # llama.cpp's enum llama_ftype
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5  # its enum llama_token_type
_UNSUPPORTED_BPE_OPTIONS = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")
_UNUSED_MERGE = "ÿ ÿ"
"""the byte 0xFF twice, which never occurs in UTF-8: llama.cpp requires merges, and the writer omits an empty list"""


def write_gguf(folder: Path, path: Path, kind: GgufType = "f16", *, vocabulary: bool = True) -> None:
    """Write a checkpoint folder as a GGUF file, atomically, with one tensor in memory at a time.

    Args:
        kind: data type of the matrices: float32, float16, or 8 bits with a float16 scale per 32 values; vectors are
            float32.
        vocabulary: False leaves it out, for use with token ids only.

    Raises:
        CheckpointError: llama.cpp cannot run the model or would compute something else, or the file cannot be written.
    """
    import gguf

    model = open_checkpoint(folder)
    config = model.config
    if not config.pre_norm:
        raise CheckpointError(
            f"{folder} is a GPT-1, which llama.cpp does not support; transformers loads the folder as it is"
        )
    if config.activation_function != "gelu_new":
        raise CheckpointError(
            f"{folder} uses the activation {config.activation_function}; llama.cpp's gpt2 supports gelu_new only. "
            "transformers loads the folder as it is"
        )
    try:
        with atomic_write(path) as temporary, closing(gguf.GGUFWriter(temporary, "gpt2")) as out:
            out.add_name(_name(folder))
            if (terms := read_license(folder)) is not None:
                out.add_license(terms)
            out.add_context_length(config.block_size)
            out.add_embedding_length(config.n_embd)
            out.add_block_count(config.n_layer)
            out.add_feed_forward_length(config.inner)
            out.add_head_count(config.n_head)
            out.add_layer_norm_eps(config.layer_norm_epsilon)
            out.add_file_type(_FILE_TYPES[kind])
            if kind == "q8_0":
                out.add_quantization_version(2)
            if vocabulary:
                _add_vocabulary(out, folder, config)
            else:
                out.add_tokenizer_model("no_vocab")
                out.add_vocab_size(config.vocab_size)
            makers = [_add_tensor(out, spec, model.tensors[spec.name], kind) for spec in config.tensor_specs()]
            out.write_header_to_file()
            out.write_kv_data_to_file()
            out.write_ti_data_to_file()
            for make in makers:
                out.write_tensor_data(make())
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error}") from None


def _name(folder: Path) -> str:
    """The model's name: that of its folder, or of the run if the folder is a checkpoint of one."""
    folder = folder.resolve()
    return folder.parent.name if STEP_FOLDER.fullmatch(folder.name) else folder.name


def _add_tensor(out: Any, spec: TensorSpec, read: Callable[[], Array], kind: str) -> Callable[[], Array]:
    """Add a tensor's header entry; returns a function that makes its values as stored in the file."""
    import gguf

    shape = spec.shape[::-1] if spec.is_linear else spec.shape
    matrix = len(shape) == 2 and spec.role != "position_embedding"
    block, in_block = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType.Q8_0]

    def float32() -> Array:
        return np.asarray(read().T if spec.is_linear else read(), np.float32)

    def float16() -> Array:
        with np.errstate(over="ignore"):
            half = float32().astype(np.float16)
        if not np.isfinite(half).all():
            raise CheckpointError(f"{spec.name} holds values beyond the range of float16: use --gguf-type f32")
        return half

    if kind == "q8_0" and matrix and shape[1] % block == 0:
        packed = (shape[0], shape[1] // block * in_block)
        raw = gguf.GGMLQuantizationType.Q8_0
        out.add_tensor_info(spec.gguf_name, packed, np.dtype(np.uint8), packed[0] * packed[1], raw_dtype=raw)
        return lambda: gguf.quants.quantize(float32(), raw)
    dtype = np.dtype(np.float16 if matrix and kind != "f32" else np.float32)
    out.add_tensor_info(spec.gguf_name, shape, dtype, int(np.prod(shape)) * dtype.itemsize)
    return float16 if dtype == np.float16 else float32


def _add_vocabulary(out: Any, folder: Path, config: ModelConfig) -> None:
    tokenizer = load_tokenizer(folder)
    spec = effective_spec(tokenizer, folder)
    check_vocab_size(tokenizer, config.vocab_size)
    _require_byte_level(spec, isinstance(tokenizer, CharTokenizer), folder)
    tokens = [f"[padding {i}]" for i in range(config.vocab_size)]  # llama.cpp takes the vocabulary size from this list
    kinds = [_UNUSED] * config.vocab_size
    for token, i in spec["model"]["vocab"].items():
        tokens[i], kinds[i] = token, _NORMAL
    for added in spec.get("added_tokens") or []:
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = _CONTROL if added.get("special") else _USER_DEFINED
    ends = [tokenizer.eos_id if end is None else end for end in (config.bos_token_id, config.eos_token_id)]
    if None in ends:
        raise CheckpointError(
            f"{folder / 'config.json'} has no bos_token_id or eos_token_id, and llama.cpp would use token 11 instead: "
            "add them there"
        )
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in spec["model"]["merges"]]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")  # without effect on a character vocabulary, which merges within characters only
    out.add_token_list(tokens)
    out.add_token_types(kinds)
    out.add_token_merges(merges or [_UNUSED_MERGE])
    out.add_bos_token_id(ends[0])
    out.add_eos_token_id(ends[1])
    out.add_add_bos_token(value=False)
    out.add_add_eos_token(value=False)


def _require_byte_level(spec: Mapping[str, Any], characters: bool, folder: Path) -> None:
    """Raise CheckpointError unless llama.cpp tokenizes as this tokenizer.json does."""
    pre_tokenizer = spec.get("pre_tokenizer") or {}
    wrong = [
        f"model {spec['model'].get('type')}" * (spec["model"].get("type") != "BPE"),
        f"pre_tokenizer {pre_tokenizer.get('type')}" * (pre_tokenizer.get("type") != "ByteLevel"),
        "add_prefix_space" * bool(pre_tokenizer.get("add_prefix_space")),
        "use_regex false" * (pre_tokenizer.get("use_regex") is False and not characters),
        "a normalizer" * (spec.get("normalizer") is not None),
        *(f"the model option {name}" * bool(spec["model"].get(name)) for name in _UNSUPPORTED_BPE_OPTIONS),
        *(
            f"the added token {token['content']!r} with {option}" * bool(token.get(option))
            for token in spec.get("added_tokens") or []
            for option in ("lstrip", "rstrip", "single_word")
        ),
    ]
    if any(wrong):
        raise CheckpointError(
            f"{folder / 'tokenizer.json'} is not a byte-level BPE like GPT-2's, which the GGUF export "
            f"requires: it has {', '.join(filter(None, wrong))}"
        )
