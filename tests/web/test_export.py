"""The static export of the page."""

import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import save_checkpoint, tiny_config, tiny_model
from helpers.web import ALPHABET, SHIPPED, save_bpe_checkpoint

from inkhorn.checkpoint.card import CardFacts, Opening, card_header
from inkhorn.checkpoint.weights import read_config
from inkhorn.cli.main import main
from inkhorn.errors import CheckpointError, UsageError
from inkhorn.inference.activation_files import steering_path, write_activations
from inkhorn.inference.api import load
from inkhorn.inference.backends import native_bindings
from inkhorn.server.served_model import ServedModel
from inkhorn.tokenizer.char import CharTokenizer
from inkhorn.web import export
from inkhorn.web.export import write_site


def test_unsupported_tokenizers_are_rejected(tmp_path: Path) -> None:
    folder = save_bpe_checkpoint(tmp_path / "checkpoint")
    spec = json.loads((folder / "tokenizer.json").read_text())
    spec["pre_tokenizer"]["add_prefix_space"] = True
    spec["normalizer"] = {"type": "NFC"}
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    with pytest.raises(UsageError, match=r"a normalizer, a prefix space.*inkhorn serve supports all"):
        write_site(folder, "odd", tmp_path / "site")
    assert not (tmp_path / "site").exists()


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_export_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", "--web", "deep/site/"]) == 0
    output = capsys.readouterr().out
    assert "MB. Upload the folder to any static host" in output
    assert "python3 -m http.server -d deep/site 8080" in output
    out = tmp_path / "deep" / "site"
    written = files_of(out)
    assert {
        "index.html",
        "style.css",
        "engine/worker.js",
        "model/model.json",
        "engine/kernel.wasm",
        "model/weights.bin",
        "model/activations.safetensors",
        "model/atlas.json",
        "atlas.html",
    } <= written
    assert not {"docs.html", "docs.js"} & written
    assert 6e6 < sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) < 9e6
    page = (out / "index.html").read_text(encoding="utf-8")
    assert '<meta name="inkhorn" content="static">' in page
    assert page.index("Content-Security-Policy") < page.index("<link")
    assert "; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; " in page
    assert "frame-ancestors" not in page
    metadata = json.loads((out / "model" / "model.json").read_text(encoding="utf-8"))
    assert metadata["id"] == "shakespeare"
    assert metadata["fingerprint"].startswith("fp_")
    assert metadata["fingerprint"].endswith("_int8_portable")
    assert (out / "model" / "weights.bin").stat().st_mode & 0o444 == 0o444
    (out / "left.over").touch()
    assert main(["export", "--web", "deep/site"]) == 0  # an earlier export is replaced
    assert files_of(out) == written
    assert [path.name for path in out.parent.iterdir()] == ["site"]


def test_files_of_other_weights_are_not_exported(tmp_path: Path) -> None:
    folder = save_bpe_checkpoint(tmp_path / "checkpoint")
    vector = {"vector": np.zeros(read_config(folder).n_embd, np.float32)}
    write_activations(steering_path(folder, "kind"), folder, vector, {"layer": "0"})
    write_site(folder, "letters", tmp_path / "site")
    assert (tmp_path / "site" / "model" / "activations.safetensors").is_file()
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"abcd")
    with pytest.raises(UsageError, match="made from other weights"):
        write_site(folder, "letters", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_title_and_prompt(tmp_path: Path) -> None:
    """The page says what the model card says; --title and --prompt replace it."""
    tokenizer = CharTokenizer(ALPHABET)
    checkpoint, site = tmp_path / "mine", tmp_path / "site"
    save_checkpoint(checkpoint, tiny_model(tiny_config(vocab_size=tokenizer.vocab_size)), tokenizer)

    def exported(*flags: str) -> tuple[str, dict[str, Any]]:
        assert main(["export", str(checkpoint), "--web", str(site), *flags]) == 0
        metadata = json.loads((site / "model" / "model.json").read_text(encoding="utf-8"))
        return (site / "index.html").read_text(encoding="utf-8"), metadata["settings"]["models"]["mine"]

    page, facts = exported()
    assert "<title>mine</title>" in page
    assert "Shakespeare" not in page
    assert "{{" not in page
    assert facts["openings"] == []
    assert facts["layout"] == "plain"
    assert re.fullmatch(r"A GPT-2 of [\d,]+ parameters", facts["tagline"])

    opening = {"prompt": "Ab <a>\nb", "label": "Ab"}
    ours = CardFacts("Letters & more", "Writes <letters>", "play", (Opening(**opening),))
    (checkpoint / "README.md").write_text(card_header({}, ours), encoding="utf-8")
    page, facts = exported()
    said = {"title": "Letters & more", "tagline": "Writes <letters>", "layout": "play", "openings": [opening]}
    assert said.items() <= facts.items()
    assert (facts["steering"], facts["atlas"], facts["means"]) == ([], False, False)
    assert "<title>Letters &amp; more</title>" in page
    assert '<meta property="og:title" content="Letters &amp; more">' in page
    assert '<meta property="og:description" content="Writes &lt;letters&gt;">' in page
    assert ">Ab &lt;a&gt;\nb</textarea>" in page

    page, facts = exported("--title", "Mine", "--prompt", "gé")
    assert (facts["title"], [one["prompt"] for one in facts["openings"]]) == ("Mine", ["gé", "Ab <a>\nb"])
    assert "<title>Mine</title>" in page
    assert ">gé</textarea>" in page
    assert main(["export", str(checkpoint), str(tmp_path / "out"), "--title", "Mine"]) == 2


def test_export_to_other_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    assert main(["export", "--web", str(tmp_path)]) == 2
    assert "is not an exported page: give a new or an empty folder" in capsys.readouterr().err
    assert main(["export", "--web", str(tmp_path / "letters.txt")]) == 2
    assert main(["export", "--web", "."]) == 2
    assert "is the current directory" in capsys.readouterr().err
    assert files_of(tmp_path) == {"letters.txt"}
    assert main(["export", str(tmp_path), "--web", str(tmp_path / "site")]) == 1
    assert main(["export"]) == 2
    assert files_of(tmp_path) == {"letters.txt"}


def test_failed_export_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out = tmp_path / "checkpoint", tmp_path / "site"
    tokenizer = CharTokenizer(ALPHABET)
    config = tiny_config(vocab_size=tokenizer.vocab_size)
    save_checkpoint(folder, tiny_model(config), tokenizer)
    write_site(folder, "tiny", out)
    before = {name: (out / name).read_bytes() for name in files_of(out)}
    monkeypatch.setattr(export, "load_packed", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_site(folder, "tiny", out)
    assert {name: (out / name).read_bytes() for name in files_of(out)} == before
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint", "site"}


def full_disk(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_export_in_another_precision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--web", str(tmp_path / "site"), "--quantize", "int4"]) == 0
    assert "4.9 MB" in capsys.readouterr().out
    metadata = json.loads((tmp_path / "site" / "model" / "model.json").read_text(encoding="utf-8"))
    assert metadata["fingerprint"].endswith("_int4_portable")
    assert metadata["bytes"] == (tmp_path / "site" / "model" / "weights.bin").stat().st_size


def test_fingerprint_is_that_of_the_portable_kernel(tmp_path: Path) -> None:
    """With the same fingerprint, a seed gives the same text in the browser and on a server."""
    write_site(SHIPPED, "shakespeare", tmp_path / "site")
    assert native_bindings.library().ink_isa_select(b"portable") == 0
    try:
        with load("shakespeare") as model:
            served = ServedModel("shakespeare", SHIPPED, model.engine)
    finally:
        native_bindings.library().ink_isa_select(None)
    metadata = json.loads((tmp_path / "site" / "model" / "model.json").read_text(encoding="utf-8"))
    assert metadata["fingerprint"] == served.fingerprint


def test_export_without_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "unavailable_reason", lambda: "there was no compiler")
    with pytest.raises(UsageError, match="packed by the native kernel, which cannot be used here: there was no comp"):
        write_site(SHIPPED, "shakespeare", tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_nan_weights_are_rejected(tmp_path: Path) -> None:
    tokenizer = CharTokenizer(ALPHABET)
    save_checkpoint(tmp_path / "checkpoint", tiny_model(tiny_config(vocab_size=tokenizer.vocab_size)), tokenizer)
    file = tmp_path / "checkpoint" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + struct.pack("<f", float("nan")))
    with pytest.raises(CheckpointError, match="contains NaN or infinite values"):
        write_site(tmp_path / "checkpoint", "broken", tmp_path / "site")
    assert not (tmp_path / "site").exists()
