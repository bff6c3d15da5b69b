"""A folder of files that is the page and a model: the browser itself computes. Needs none of the server's extras."""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from inkhorn.checkpoint.weights import read_config, read_weights
from inkhorn.config.model import ModelConfig
from inkhorn.errors import CheckpointError, UsageError
from inkhorn.tokenizer.base import Tokenizer, bytes_to_unicode, check_vocab_size
from inkhorn.tokenizer.bpe import BPETokenizer
from inkhorn.tokenizer.char import CharTokenizer
from inkhorn.tokenizer.load import load_tokenizer
from inkhorn.utils.files import read_json
from inkhorn.web import STATIC_DIR
from inkhorn.web.settings import page_settings

Array = np.ndarray[Any, Any]


SERVER_ONLY = ("docs.html", "docs.css", "docs.js")
"""files about the server's API"""
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",  # kernels_wasm.js makes its few instructions itself
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
)
"""The server's, which a static host does not send: it stands in the page, where frame-ancestors has no effect."""


def write_site(folder: Path, name: str, out: Path) -> int:
    """Write a checkpoint and the page into a folder, whole or not at all; returns its size in bytes.

    Args:
        folder: the checkpoint.
        name: of the model, for readers.
        out: the folder to write; an earlier site in it is replaced.

    Raises:
        UsageError: there is something else in the folder, or the page cannot run this model.
        CheckpointError: what is wrong with the checkpoint.

    """
    out = out.resolve()
    _require_ours(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as beside:
        new, old = Path(beside, "new"), Path(beside, "old")
        (new / "model").mkdir(parents=True)
        _write_page(new)
        _write_model(folder, name, new / "model")
        size = sum(path.stat().st_size for path in new.rglob("*") if path.is_file())
        if out.exists():
            out.rename(old)
        try:
            new.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
    return size


def _require_ours(out: Path) -> None:
    if out == Path.cwd():
        raise UsageError(f"{out} is where you are, and is replaced as a whole: give another folder, such as site")
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() and not (out / "model" / "model.json").is_file():
        raise UsageError(f"{out} is there already and is no page of inkhorn's: give a new or an empty folder")


def _write_page(out: Path) -> None:
    shutil.copytree(
        STATIC_DIR, out, ignore=shutil.ignore_patterns(*SERVER_ONLY), copy_function=shutil.copyfile, dirs_exist_ok=True
    )
    page = (out / "index.html").read_text(encoding="utf-8")
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    changed, count = re.subn('<meta name="inkhorn" content="server">', '<meta name="inkhorn" content="static">', page)
    changed = changed.replace('<meta charset="utf-8">', f'<meta charset="utf-8">\n{policy}', 1)
    assert count == 1, "index.html says once who computes"
    assert policy in changed
    (out / "index.html").write_text(changed, encoding="utf-8")


def _write_model(folder: Path, name: str, out: Path) -> None:
    config, tokenizer = read_config(folder), load_tokenizer(folder)
    check_vocab_size(tokenizer, config.vocab_size)
    spec = read_json(folder / "tokenizer.json")
    if isinstance(tokenizer, BPETokenizer):
        _require_plain(spec, folder)
    tensors = site_tensors(config, read_weights(folder, config))
    file = out / "weights.safetensors"
    save_file(tensors, file)
    file.chmod(0o644)  # the library makes it readable by its owner only
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    facts = {
        "id": name,
        "fingerprint": f"fp_{digest[:8]}_int8_browser",
        "parameters": config.num_parameters,
        "bytes": file.stat().st_size,
        "config": asdict(config) | {"inner": config.inner, "pre_norm": config.pre_norm},
        "tokens": _tokens(config, tokenizer),
        "settings": page_settings(),
    }
    for path, content in (("model.json", facts), ("tokenizer.json", spec)):
        (out / path).write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def _tokens(config: ModelConfig, tokenizer: Tokenizer) -> dict[str, Any]:
    """What tokenizer.json does not say."""
    end = tokenizer.eos_id if config.eos_token_id is None else config.eos_token_id
    return {
        "end": end,
        "start": end if config.bos_token_id is None else config.bos_token_id,
        "never": [*sorted(tokenizer.partial_ids), *range(tokenizer.vocab_size, config.vocab_size)],
        "nearest": _nearest(tokenizer) if isinstance(tokenizer, CharTokenizer) else None,
    }


def _nearest(tokenizer: CharTokenizer) -> dict[str, str]:
    """What stands for each character: itself, or what a typist would write. All others are left out of a prompt."""
    every = [chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000]
    found = {unknown.character: unknown.replacement for unknown in tokenizer.normalize("".join(every))[1]}
    return {c: c for c in tokenizer.characters} | {c: form for c, form in found.items() if form}


def _require_plain(spec: Mapping[str, Any], folder: Path) -> None:
    """UsageError unless tokenizer.json is a byte-level BPE as GPT-2's, which tokenizer.js does."""
    model, cut, symbols = spec.get("model") or {}, spec.get("pre_tokenizer") or {}, set(bytes_to_unicode())
    odd = {
        "another kind than byte-level BPE": model.get("type") != "BPE"
        or cut.get("type") != "ByteLevel"
        or (spec.get("decoder") or {}).get("type") != "ByteLevel"
        or not all(symbols.issuperset(token) for token in model["vocab"] if token not in _added(spec)),
        "a normalizer": bool(spec.get("normalizer")),
        "a prefix space": bool(cut.get("add_prefix_space")),
        "options of BPE that GPT-2 has not": any(
            model.get(key)
            for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "ignore_merges")
        ),
        "added tokens that take spaces in": any(t["lstrip"] or t["rstrip"] for t in spec.get("added_tokens", ())),
    }
    found = [what for what, is_so in odd.items() if is_so]
    if found:
        raise UsageError(
            f"the page cannot run {folder}: its tokenizer.json has {', '.join(found)}. "
            "It takes character vocabularies and the byte-level BPE of GPT-2; inkhorn serve takes all"
        )


def _added(spec: Mapping[str, Any]) -> set[str]:
    return {token["content"] for token in spec.get("added_tokens", ())}


def site_tensors(config: ModelConfig, weights: Mapping[str, Array]) -> dict[str, Array]:
    """A model's tensors as gpt.js takes them: matrices [outputs, inputs] of 8 bits with scales, the rest as it was."""
    tensors: dict[str, Array] = {}
    for spec in config.tensor_specs():
        array = weights[spec.name]
        if not np.isfinite(array).all():
            raise CheckpointError(f"the model's weights are damaged: {spec.name} holds values that are not finite")
        if spec.is_linear:
            tensors |= _matrix(spec.name.removesuffix(".weight"), array.T)
        elif spec.role != "head":
            tensors[spec.name] = np.ascontiguousarray(array, np.float32)
    head = weights["wte.weight" if config.tie_word_embeddings else "lm_head.weight"]
    return tensors | _matrix("head", head)


def _matrix(name: str, rows: Array) -> dict[str, Array]:
    """Each row as whole numbers within +-127 and a scale, a bfloat16 as in native/pack.cpp: the same numbers result."""
    scale = np.abs(rows).max(1).astype(np.float32) / np.float32(127)
    bits = scale.view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    rounded += np.uint32(0x10000) * (rounded.view(np.float32) < scale)  # or the largest would not fit
    scale = rounded.view(np.float32)
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.where(scale > 0, np.float32(1) / scale, np.float32(0))
    inverse[~np.isfinite(inverse)] = 0
    whole = np.clip(np.rint(rows * inverse[:, None]), -127, 127).astype(np.int8)
    return {f"{name}.weight": np.ascontiguousarray(whole), f"{name}.scale": scale}
