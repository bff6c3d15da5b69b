"""Static export of the web page: a folder with the page and a model that runs in the browser.

Any static host can serve it. Needs none of the server's packages.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from inkhorn.checkpoint.tensor_file import LazyTensor, write_tensor_file
from inkhorn.checkpoint.weights import read_config, read_eos_token_ids
from inkhorn.config.model import ModelConfig
from inkhorn.config.quantization import Precision
from inkhorn.errors import UsageError
from inkhorn.inference.activation_files import has_means, read_means, read_steering, steering_names
from inkhorn.inference.backends.native_bindings import unavailable_reason
from inkhorn.inference.backends.packed_weights import load_packed, weights_digest
from inkhorn.inference.snapshots import snapshots_of
from inkhorn.inspection.atlas import PAGE, has_atlas, read_atlas
from inkhorn.inspection.atlas_page import atlas_page
from inkhorn.tokenizer.base import Tokenizer, bytes_to_unicode, check_vocab_size
from inkhorn.tokenizer.bpe import BPETokenizer
from inkhorn.tokenizer.char import CharTokenizer
from inkhorn.tokenizer.load import effective_spec, load_tokenizer
from inkhorn.web import CONTENT_SECURITY_POLICY, STATIC_DIR
from inkhorn.web.facts import PageFacts, page_facts
from inkhorn.web.html import render_page
from inkhorn.web.settings import page_settings

SERVER_ONLY = ("docs.html", "docs.css", "docs.js", "not_found.html", "watch")
"""Files that only the server and `inkhorn train` use, which are not exported."""
# engine/kernel.js compiles a WebAssembly module. A static host sends no header, so the policy is a meta element.
_POLICY = CONTENT_SECURITY_POLICY.replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'")


def write_site(
    folder: Path,
    name: str,
    out: Path,
    precision: Precision | None = None,
    *,
    title: str | None = None,
    prompt: str | None = None,
) -> int:
    """Write the page and a checkpoint into a folder, completely or not at all.

    Args:
        folder: the checkpoint.
        name: the model's name on the page.
        out: the folder to write; an earlier export in it is replaced.
        precision: of the weights; None: that of the folder's packed weights if it has any, else int8.
        title: the page's title; None: that of the model card.
        prompt: the prompt that the page starts with; None: the first of the model card.

    Returns:
        The folder's size in bytes.

    Raises:
        UsageError: the folder holds something else, the page cannot run this model, or there is no kernel.
        CheckpointError: the checkpoint is invalid.
    """
    if (reason := unavailable_reason()) is not None:
        raise UsageError(f"the page's weights are packed by the native kernel, which cannot be used here: {reason}")
    out = out.resolve()
    _check_replaceable(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        new, old = Path(temporary, "new"), Path(temporary, "old")
        (new / "model").mkdir(parents=True)
        facts = page_facts(folder, name, read_config(folder), title=title, prompt=prompt)
        _write_page(new, facts)
        _write_model(folder, name, new / "model", facts, precision)
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


def _check_replaceable(out: Path) -> None:
    if out == Path.cwd():
        raise UsageError(f"{out} is the current directory, which cannot be replaced: give another folder, such as site")
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() and not (out / "model" / "model.json").is_file():
        raise UsageError(f"{out} exists and is not an exported page: give a new or an empty folder")


def _write_page(out: Path, facts: PageFacts) -> None:
    shutil.copytree(
        STATIC_DIR, out, ignore=shutil.ignore_patterns(*SERVER_ONLY), copy_function=shutil.copyfile, dirs_exist_ok=True
    )
    page, charset = render_page(facts, "static"), '<meta charset="utf-8">'
    assert page.count(charset) == 1, f"index.html must contain {charset} once"
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    (out / "index.html").write_text(page.replace(charset, f"{charset}\n{policy}"), encoding="utf-8")


def _write_model(folder: Path, name: str, out: Path, facts: PageFacts, precision: Precision | None) -> None:
    config, tokenizer = read_config(folder), load_tokenizer(folder)
    check_vocab_size(tokenizer, config.vocab_size)
    spec = effective_spec(tokenizer, folder)
    if isinstance(tokenizer, BPETokenizer):
        _check_bpe(spec, folder)
    packed = load_packed(folder, precision)
    packed.data.tofile(out / "weights.bin")
    snapshot_bytes = 0
    for snapshot in snapshots_of(folder):
        (out / "snapshots").mkdir(exist_ok=True)
        weights = load_packed(snapshot.folder, "int8").data
        weights.tofile(out / "snapshots" / f"{snapshot.step}.bin")
        snapshot_bytes = weights.nbytes
    metadata = {
        "id": name,
        # As the server's: the module computes the same bits as the kernel with INKHORN_ISA=portable.
        "fingerprint": f"fp_{weights_digest(folder)}_{packed.precision}_portable",
        "parameters": config.num_parameters,
        "bytes": packed.data.nbytes,
        "snapshot_bytes": snapshot_bytes,
        "config": asdict(config) | {"inner": config.inner, "pre_norm": config.pre_norm},
        "tokens": _token_options(config, tokenizer, read_eos_token_ids(folder, config)),
        "settings": page_settings({name: facts}),
    }
    _write_inspection(folder, name, out, facts)
    for path, content in (("model.json", metadata), ("tokenizer.json", spec)):
        (out / path).write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_inspection(folder: Path, name: str, out: Path, facts: PageFacts) -> None:
    """Write the steering vectors and the means into one file, and the head atlas as numbers and as a page.

    Those that were made from other weights are errors: what is exported would be wrong for good.
    """
    arrays = {f"steering.{each}": read_steering(folder, each)[0] for each in steering_names(folder)}
    if has_means(folder):
        arrays |= read_means(folder)
    if arrays:
        tensors = {key: LazyTensor.of(np.asarray(array, np.float32)) for key, array in arrays.items()}
        write_tensor_file(out / "activations.safetensors", tensors, {})
    if has_atlas(folder):
        atlas = read_atlas(folder)
        (out / "atlas.json").write_text(
            json.dumps({"page": PAGE, **atlas.summary()}, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        (out.parent / PAGE).write_text(atlas_page(atlas, facts.title or name, "./"), encoding="utf-8")


def _token_options(config: ModelConfig, tokenizer: Tokenizer, ends: tuple[int, ...]) -> dict[str, Any]:
    """Settings of the page that tokenizer.json does not contain. `ends`: the ids that end a text, as the engine's."""
    eos = tokenizer.eos_id if config.eos_token_id is None else config.eos_token_id
    if ends and eos not in ends:
        eos = ends[0]
    return {
        "bos_id": eos if config.bos_token_id is None else config.bos_token_id,
        "eos_ids": sorted({*ends, *(() if eos is None else (eos,))}),
        "banned_ids": [*sorted(tokenizer.partial_ids), *range(tokenizer.vocab_size, config.vocab_size)],
        "replacements": _replacements(tokenizer) if isinstance(tokenizer, CharTokenizer) else None,
    }


def _replacements(tokenizer: CharTokenizer) -> dict[str, str]:
    """Each character of the vocabulary, and the closest match of others. Characters without one are dropped."""
    every = [chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000]
    found = {unknown.character: unknown.replacement for unknown in tokenizer.normalize("".join(every))[1]}
    return {c: c for c in tokenizer.characters} | {c: closest for c, closest in found.items() if closest}


def _check_bpe(spec: Mapping[str, Any], folder: Path) -> None:
    """Raise UsageError unless tokenizer.json is a byte-level BPE like GPT-2's, which engine/tokenizer.js implements."""
    model, pre_tokenizer, added = (spec.get(key) or {} for key in ("model", "pre_tokenizer", "added_tokens"))
    types = [model.get("type"), pre_tokenizer.get("type"), (spec.get("decoder") or {}).get("type")]
    ordinary = model.get("vocab", {}).keys() - {token["content"] for token in added}
    options = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "ignore_merges")
    byte_level = types == ["BPE", "ByteLevel", "ByteLevel"] and set("".join(ordinary)) <= set(bytes_to_unicode())
    unsupported = {
        "a model other than byte-level BPE": not byte_level,
        "a normalizer": spec.get("normalizer"),
        "a prefix space": pre_tokenizer.get("add_prefix_space"),
        "BPE options that GPT-2 does not use": any(map(model.get, options)),
        "added tokens that depend on their neighbors": any(
            token.get("lstrip") or token.get("rstrip") or token.get("single_word") for token in added
        ),
    }
    found = [feature for feature, present in unsupported.items() if present]
    if found:
        raise UsageError(
            f"the page cannot run {folder}: its tokenizer.json has {', '.join(found)}. "
            "The page supports character vocabularies and GPT-2's byte-level BPE; inkhorn serve supports all"
        )
