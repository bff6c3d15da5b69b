"""`inkhorn import` from a folder, a file, and a local hub server."""

import hashlib
import http.server
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from helpers.checkpoints import LetsBuildGPT, NanoGPT
from helpers.models import run
from helpers.paths import DATA
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
)

from inkhorn.checkpoint.weights import read_config
from inkhorn.config.model import ModelConfig
from inkhorn.convert.formats import open_checkpoint
from inkhorn.inference.numpy_model import KVCache, NumpyModel
from inkhorn.model import GPT
from inkhorn.tokenizer.bpe import BPETokenizer, train_bpe
from inkhorn.tokenizer.char import CharTokenizer
from inkhorn.tokenizer.load import load_tokenizer

TEXT = "To be, or not to be: that is the question.\nWhether 'tis nobler in the mind to suffer.\n" * 40
BPE = train_bpe([TEXT], 300)
HF: dict[str, Any] = {"n_positions": 32, "n_embd": 24, "n_layer": 2, "n_head": 3}
"""OpenAI's tokenizer files, if available; they are not part of this repository"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INKHORN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text(TEXT)


def transformers_folder(folder: Path, **changes: Any) -> Any:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=300, bos_token_id=299, eos_token_id=299, **HF | changes)
    model = GPT2LMHeadModel(config).eval()
    model.save_pretrained(folder)
    BPE.save(folder)
    return model


def test_commands_on_imported_model(capsys: pytest.CaptureFixture[str]) -> None:
    model = transformers_folder(Path("theirs"))
    assert run("import", "theirs") == 0
    assert "models/theirs: GPT-2" in capsys.readouterr().out

    again, tokenizer = (
        AutoModelForCausalLM.from_pretrained("models/theirs"),
        AutoTokenizer.from_pretrained("models/theirs"),
    )
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))
    assert len(tokenizer) == 300
    assert tokenizer("not to be").input_ids == BPE.encode("not to be").tolist()
    assert Path("models/theirs/tokenizer.json").read_bytes() == Path("theirs/tokenizer.json").read_bytes()

    assert run("generate", "To be", "--model", "models/theirs", "--max-tokens", "5", "--seed", "1") == 0
    assert capsys.readouterr().out.startswith("To be")
    assert run("eval", "--model", "models/theirs", "--text", "mine.txt", "--json") == 0
    assert 5 < json.loads(capsys.readouterr().out)["loss"] < 6.5  # ln 300 is 5.7
    flags = ("--steps", "2", "--batch-size", "2", "--sample-tokens", "0")
    assert run("train", "--init-from", "models/theirs", "--text", "mine.txt", "--out", "run", *flags) == 0
    assert read_config(next(Path("run").glob("step-*"))).vocab_size == 300

    assert run("export", "models/theirs", "back", "--dtype", "float32") == 0
    back = GPT2LMHeadModel.from_pretrained("back")
    assert all(torch.equal(a, b) for a, b in zip(back.parameters(), model.parameters(), strict=True))

    capsys.readouterr()
    assert run("import", "theirs") == 1
    assert "models/theirs already exists" in capsys.readouterr().err


def test_vocab_json_and_merges_txt() -> None:
    transformers_folder(Path("theirs"))
    Path("theirs/tokenizer.json").unlink()
    Path("theirs/tokenizer_config.json").unlink()
    BPE.inner.model.save("theirs")  # vocab.json and merges.txt
    assert run("import", "theirs", "--out", "ours") == 0
    assert load_tokenizer(Path("ours")).encode(TEXT).tolist() == BPE.encode(TEXT).tolist()
    assert load_tokenizer(Path("ours")).eos_id == 299


@pytest.mark.skipif(not DATA.is_dir(), reason="test data missing: OpenAI's tokenizer files")
def test_gpt1_vocabulary(capsys: pytest.CaptureFixture[str]) -> None:
    OpenAIGPTLMHeadModel(OpenAIGPTConfig(vocab_size=40478, **HF)).save_pretrained("openai-gpt-tiny")
    shutil.copy(DATA / "gpt1-bpe" / "encoder_bpe_40000.json", "openai-gpt-tiny/vocab.json")
    shutil.copy(DATA / "gpt1-bpe" / "vocab_40000.bpe", "openai-gpt-tiny/merges.txt")
    assert run("import", "openai-gpt-tiny") == 0
    assert "GPT-1" in capsys.readouterr().out
    tokenizer = AutoTokenizer.from_pretrained("models/openai-gpt-tiny")
    assert len(tokenizer) == 40478
    assert (
        tokenizer("Hello there").input_ids
        == load_tokenizer(Path("models/openai-gpt-tiny")).encode("Hello there").tolist()
    )
    assert run("generate", "hello", "--model", "models/openai-gpt-tiny", "--max-tokens", "3") == 0


def nanogpt(folder: Path, alphabet: str, **changes: Any) -> NanoGPT:
    model = NanoGPT(len(alphabet), **changes)
    folder.mkdir()
    torch.save({"model": model.state_dict(), "model_args": model.model_args}, folder / "ckpt.pt")
    meta = {
        "vocab_size": len(alphabet),
        "itos": dict(enumerate(alphabet)),
        "stoi": {c: i for i, c in enumerate(alphabet)},
    }
    (folder / "meta.pkl").write_bytes(pickle.dumps(meta))
    return model


def test_nanogpt_character_vocabulary(capsys: pytest.CaptureFixture[str]) -> None:
    alphabet = "".join(sorted(set(TEXT)))
    nanogpt(Path("out-char"), alphabet)
    assert run("import", "out-char", "--out", "a") == 0
    output = capsys.readouterr().out
    assert "activation gelu, as usual for nanoGPT" in output
    assert "1 token ids added" in output
    Path("out-char/meta.pkl").rename("meta.pkl")
    assert run("import", "out-char", "--out", "b") == 2
    assert "has no vocabulary" in capsys.readouterr().err
    assert run("import", "out-char", "--out", "b", "--tokenizer", "meta.pkl") == 0
    assert run("import", "out-char/ckpt.pt", "--text", "mine.txt") == 0  # named after its folder
    for folder in ("a", "b", "models/out-char"):
        tokenizer = load_tokenizer(Path(folder))
        assert isinstance(tokenizer, CharTokenizer)
        assert "".join(tokenizer.characters) == alphabet
        assert Path(folder, "model.safetensors").read_bytes() == Path("a/model.safetensors").read_bytes()
    assert len(AutoTokenizer.from_pretrained("a")) == read_config(Path("a")).vocab_size
    for prompt in ("To be", ""):  # an empty prompt starts from the end-of-text token
        capsys.readouterr()
        assert run("generate", prompt, "--model", "a", "--max-tokens", "200", "--seed", "1") == 0
        assert set(capsys.readouterr().out) <= set(alphabet)


def test_lets_build_gpt_vocabulary(capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(LetsBuildGPT(len(set(TEXT))).state_dict(), "nanoGPT.pth")
    assert run("import", "nanoGPT.pth") == 2
    assert "--text, the training text of a character-level model" in capsys.readouterr().err
    Path("other.txt").write_text(TEXT + "#")
    assert run("import", "nanoGPT.pth", "--text", "other.txt") == 1
    assert "not the alphabet" in capsys.readouterr().err
    assert not Path("models").exists()
    assert run("import", "nanoGPT.pth", "--text", "mine.txt") == 0
    assert "attention scores divided by the root of the width" in capsys.readouterr().out
    assert read_config(Path("models/nanoGPT")).activation_function == "relu"
    assert run("generate", "To be", "--model", "models/nanoGPT", "--max-tokens", "5") == 0


def test_vocabulary_padding_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    nanogpt(Path("padded"), "".join(map(chr, range(320))))
    Path("padded/meta.pkl").unlink()
    BPE.save(Path("padded"))
    assert run("import", "padded") == 0
    assert "320 embedding rows for 300 tokens: the other 20 are padding" in capsys.readouterr().out
    assert read_config(Path("models/padded")).vocab_size == 320
    assert read_config(Path("models/padded")).eos_token_id == 299
    assert run("generate", "To be", "--model", "models/padded", "--max-tokens", "50") == 0
    nanogpt(Path("small"), "abc")
    assert run("import", "small", "--tokenizer", "padded") == 1
    assert "300 tokens, but the model of config.json only 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "SOURCE"),
        (["nowhere"], 2, "not a local path, a hub repository"),
        (["gpt-2"], 2, "did you mean 'gpt2'"),
        (["theirs", "--n-head", "3"], 2, "leave out --n-head"),
        (["theirs", "--revision", "main"], 2, "applies to hub repositories only"),
        (["theirs", "--text", "mine.txt", "--tokenizer", "gpt2"], 2, "not both"),
        (["theirs", "--tokenizer", "mine.txt"], 2, "give the folder of a tokenizer.json"),
        (["theirs", "--tokenizer", "gpt3"], 2, "no tokenizer is called 'gpt3'"),
        (["theirs", "--text", "nowhere.txt"], 1, "nowhere.txt"),
        (["theirs", "--tokenizer", "evil.pkl"], 1, "it would import posix.system"),
        (["theirs", "--tokenizer", "words.pkl"], 1, "does not number single characters"),
        (["gpt2"], 1, "give its path"),  # the tests are offline
        (["openai-community/gpt2-medium"], 1, "cannot download openai-community/gpt2-medium"),
    ],
)
def test_invalid_requests(words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    transformers_folder(Path("theirs"))
    Path("evil.pkl").write_bytes(b"cposix\nsystem\n(S'touch owned'\ntR.")
    Path("words.pkl").write_bytes(pickle.dumps({"stoi": {"ab": 0, "c": 1}}))
    assert run("import", *words) == code
    shown = capsys.readouterr()
    output = " ".join((shown.err + shown.out).replace("│", " ").split())
    assert message in output
    assert "Traceback" not in output
    assert not Path("owned").exists()
    assert not Path("models").exists()


def test_failed_import_leaves_no_files(capsys: pytest.CaptureFixture[str]) -> None:
    model = transformers_folder(Path("theirs"))
    with torch.no_grad():
        model.transformer.ln_f.bias[0] = float("inf")
    model.save_pretrained("theirs")
    assert run("import", "theirs") == 1
    assert "ln_f.bias holds values that are not finite" in capsys.readouterr().err
    assert list(Path("models").iterdir()) == []


# GPT-2 at full size, and peak memory


def real(kind: str) -> Any:
    """A checkpoint of GPT-2 124M's size; each weight repeats one random row."""
    from transformers.initialization import no_init_weights

    with no_init_weights():
        model: Any = GPT2LMHeadModel(GPT2Config()) if kind == "gpt2" else OpenAIGPTLMHeadModel(OpenAIGPTConfig())
    noise = torch.randn(100_003, generator=torch.Generator().manual_seed(0)) * 0.05
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.view(-1).copy_(noise.repeat(parameter.numel() // len(noise) + 1)[: parameter.numel()])
    return model.eval()


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
def test_full_size_models(kind: str) -> None:
    model = real(kind)
    model.save_pretrained("theirs")
    vocab_size = model.config.vocab_size
    tokens = {f"t{i}": i for i in range(vocab_size)}
    BPETokenizer(tokenizers.Tokenizer(tokenizers.models.BPE(tokens, []))).save(Path("theirs"))
    assert run("import", "theirs", "--out", "ours") == 0
    with safe_open("theirs/model.safetensors", "np") as theirs, safe_open("ours/model.safetensors", "np") as ours:
        names = set(theirs.keys()) - {"lm_head.weight"}
        assert names == set(ours.keys())
        assert all(np.array_equal(theirs.get_tensor(name), ours.get_tensor(name)) for name in names)
    config = read_config(Path("ours"))
    mapped = {name: read() for name, read in open_checkpoint(Path("ours")).tensors.items()}
    reference = NumpyModel(config, mapped)
    with torch.no_grad():
        expected = model(torch.tensor([[3, 1, 4, 1]])).logits[0].numpy()
    assert expected.std() > 0.1
    found = reference.forward([3, 1, 4, 1], KVCache(config), all_logits=True)
    np.testing.assert_allclose(found, expected, atol=1e-4 * abs(expected).max())


MEMORY = """
from pathlib import Path
from inkhorn.convert.formats import ImportOptions, open_checkpoint
from inkhorn.checkpoint.weights import write_weights
imported = open_checkpoint(Path("big.safetensors"), ImportOptions(n_head=4))
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
imported.tensors["h.0.ln_1.bias"]()
before = peak()
write_weights(Path("ours"), imported.config, imported.tensors, imported.dtype)
print(peak() - before, Path("ours/model.safetensors").stat().st_size)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="not on this machine: no /proc")
def test_peak_memory() -> None:
    config = ModelConfig(vocab_size=64, n_layer=24, n_head=4, n_embd=256)  # 76 MB, each tensor a hundredth of it
    save_file({n: t.clone() for n, t in GPT(config).state_dict().items() if n != "lm_head.weight"}, "big.safetensors")
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    grown, size = map(int, done.stdout.split())
    assert size > 7e7
    assert grown < 1.2 * size  # the pages of the mapped file, which the system may take back


# A local hub server


class Hub(http.server.BaseHTTPRequestHandler):
    """The part of the hub's API that huggingface_hub uses: the files of a revision, and each file."""

    protocol_version = "HTTP/1.1"
    commit = "0123456789abcdef0123456789abcdef01234567"

    def __init__(self, root: Path, asked: list[str], *rest: Any) -> None:
        self.root, self.asked = root, asked
        super().__init__(*rest)

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        names = sorted(p.name for p in self.root.iterdir())
        if path.startswith("/api/models/someone/tiny/revision/"):
            siblings = [{"rfilename": name} for name in names]
            reply = {"id": "someone/tiny", "sha": self.commit, "siblings": siblings, "private": False, "tags": []}
            self.send(json.dumps(reply | {"downloads": 0, "likes": 0}).encode(), body)
        elif path.startswith("/api/models/someone/tiny/tree/"):
            tree = [
                {"type": "file", "path": n, "size": (self.root / n).stat().st_size, "oid": self.etag(n)} for n in names
            ]
            self.send(json.dumps(tree).encode(), body)
        elif path.startswith("/someone/tiny/resolve/") and path.rsplit("/", 1)[1] in names:
            name = path.rsplit("/", 1)[1]
            self.asked.append(name)
            self.send((self.root / name).read_bytes(), body, {"ETag": f'"{self.etag(name)}"'})
        else:
            self.send(b"{}", body, {"X-Error-Code": "RepoNotFound"}, code=404)

    def etag(self, name: str) -> str:
        return hashlib.sha1((self.root / name).read_bytes()).hexdigest()

    def send(self, data: bytes, body: bool, headers: dict[str, str] | None = None, code: int = 200) -> None:
        self.send_response(code)
        for name, value in ({"X-Repo-Commit": self.commit, "Content-Length": str(len(data))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[dict[str, str], list[str]]]:
    """The environment that selects the local hub, and the files requested from it."""
    transformers_folder(tmp_path / "hub")
    asked: list[str] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, tmp_path / "hub", asked))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    settings = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "home")}
    settings |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
    try:
        yield os.environ | settings, asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def inkhorn(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "inkhorn", "import", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_hub_repository_is_cached(hub: tuple[dict[str, str], list[str]], tmp_path: Path) -> None:
    environment, asked = hub
    (tmp_path / "hub" / "flax_model.msgpack").write_bytes(b"not wanted")
    done = inkhorn(environment, "someone/tiny")
    assert done.returncode == 0, done.stderr
    assert "models/tiny: GPT-2" in done.stdout
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(asked)
    assert "flax_model.msgpack" not in asked
    offline = inkhorn(environment | {"HF_HUB_OFFLINE": "1"}, "someone/tiny", "--out", "again")  # from the cache
    assert offline.returncode == 0, offline.stderr
    for name in ("model.safetensors", "tokenizer.json"):
        assert Path("again", name).read_bytes() == Path("models/tiny", name).read_bytes()


def test_hub_repository_with_pickles(hub: tuple[dict[str, str], list[str]], tmp_path: Path) -> None:
    environment, asked = hub
    state = GPT2LMHeadModel.from_pretrained(tmp_path / "hub").state_dict()
    torch.save(state, tmp_path / "hub" / "pytorch_model.bin")
    (tmp_path / "hub" / "model.safetensors").unlink()
    done = inkhorn(environment, "someone/tiny", "--revision", "main")
    assert done.returncode == 0, done.stderr
    assert "pytorch_model.bin" in asked


def test_missing_hub_repository(hub: tuple[dict[str, str], list[str]], tmp_path: Path) -> None:
    environment, asked = hub
    done = inkhorn(environment, "someone/else")
    assert done.returncode == 1
    assert "cannot download someone/else from the Hugging Face hub (RepositoryNotFoundError)" in done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / "hub" / "config.json").write_text('{"model_type": "llama"}')
    done = inkhorn(environment, "someone/tiny")
    assert done.returncode == 1
    assert "model_type is 'llama'" in done.stderr
    assert "model.safetensors" not in asked  # it is refused before its weights come
    assert not Path("models").exists()


def test_encoding_of_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    alphabet = sorted("abcé")
    model = NanoGPT(len(alphabet))
    torch.save({"model": model.state_dict(), "model_args": model.model_args}, "ckpt.pt")
    Path("text.txt").write_bytes("abcé".encode("cp1252"))
    assert run("import", "ckpt.pt", "--text", "text.txt", "--out", "ours") == 1
    assert "add --encoding" in capsys.readouterr().err
    assert run("import", "ckpt.pt", "--text", "text.txt", "--encoding", "cp1252", "--out", "ours") == 0
    tokenizer = load_tokenizer(Path("ours"))
    assert isinstance(tokenizer, CharTokenizer)
    assert tokenizer.characters == alphabet
    assert run("import", "ckpt.pt", "--encoding", "cp1252", "--out", "again") == 2
    assert "--encoding is that of --text" in capsys.readouterr().err


def test_card_of_an_import() -> None:
    """A folder without a card gets one; a card that is there is kept."""
    transformers_folder(Path("theirs"))
    assert run("import", "theirs", "--out", "ours") == 0
    assert "imported from theirs" in Path("ours/README.md").read_text()
    Path("theirs/README.md").write_text("of its own")
    assert run("import", "theirs", "--out", "again") == 0
    assert Path("again/README.md").read_text() == "of its own"
