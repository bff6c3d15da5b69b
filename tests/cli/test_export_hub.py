"""`inkhorn export --hub`: what is uploaded, the model card's metadata, and a hub that runs here."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from helpers.models import run, save_checkpoint, tiny_config, tiny_model
from huggingface_hub import ModelCard

from inkhorn.checkpoint.resolve import SHIPPED
from inkhorn.convert import hub_upload
from inkhorn.tokenizer.char import CharTokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint without a card, beside files that stay here."""
    tokenizer = CharTokenizer("abc ")
    path = tmp_path / "mine"
    save_checkpoint(path, tiny_model(tiny_config(vocab_size=tokenizer.vocab_size)), tokenizer)
    (path / "optimizer.pt").write_bytes(b"state")
    (path / "README.md").unlink(missing_ok=True)
    return path


class FakeHub(ThreadingHTTPServer):
    """The calls of the hub's API that an upload makes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls: list[tuple[str, str, str | None]] = []
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.fail_with = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """No log."""

    def do_GET(self) -> None:
        self.server.calls.append(("GET", self.path, self.headers["Authorization"]))
        self._answer({"error": "not found"}, 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        self.server.calls.append(("POST", path, self.headers["Authorization"]))
        if self.server.fail_with:
            self._answer({"error": "You may not write here"}, self.server.fail_with)
        elif path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            self._answer({"url": f"{self.server.url}/me/mine", "id": "me/mine", "name": "me/mine"})
        elif path == "/api/models/me/mine/preupload/main":
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            self._answer({"files": modes})
        elif path == "/api/models/me/mine/commit/main":
            for line in body.decode().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.server.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            self._answer({"commitUrl": f"{self.server.url}/me/mine/commit/abc", "commitOid": "abc", "success": True})
        else:
            self._answer({}, 200 if path == "/api/validate-yaml" else 404)

    def _answer(self, found: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub on this machine, which the library uses, and a token."""
    server = FakeHub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", server.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: False, raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_dry_run_prints_the_files_and_the_card(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", str(folder), "--hub", "me/mine", "--dry-run") == 0
    shown = capsys.readouterr()
    assert f"{(folder / 'model.safetensors').stat().st_size:,} bytes" in shown.out
    assert "optimizer.pt" not in shown.out
    assert 'from_pretrained("me/mine")' in shown.out
    assert "states no license" in shown.err


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_the_card_of_a_shipped_model_has_valid_metadata(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    card = ModelCard(hub_upload.hub_card(SHIPPED[name], f"me/{name}"))
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag == "text-generation"
    assert card.data.license == "mit"
    assert card.data.language == "en"
    assert card.data.tags is not None
    assert "gpt2" in card.data.tags
    assert all(entry["text"] for entry in card.data.to_dict()["widget"])
    assert run("export", name, "--hub", f"me/{name}", "--dry-run") == 0
    assert capsys.readouterr().err == ""


def test_a_new_card_has_valid_metadata(folder: Path) -> None:
    card = ModelCard(hub_upload.hub_card(folder, "me/mine"))
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "text-generation")
    assert card.data.tags == ["inkhorn", "gpt2"]


@pytest.mark.parametrize("private", [False, True])
def test_upload(folder: Path, hub: FakeHub, private: bool, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "README.md").write_text("---\nlibrary_name: transformers\npipeline_tag: text-generation\n---\n# Mine\n")
    assert run("export", str(folder), "--hub", "me/mine", *(["--private"] if private else [])) == 0
    assert f"{hub.url}/me/mine/commit/abc" in capsys.readouterr().out
    expected = {name for name in hub_upload.UPLOADED_FILES if (folder / name).exists()}
    assert hub.files.keys() == expected
    assert {name: (folder / name).read_bytes() for name in expected} == hub.files
    (created,) = hub.created
    assert (created["name"], created["organization"]) == ("mine", "me")
    assert (created.get("private") is True or created.get("visibility") == "private") == private
    assert {token for _, path, token in hub.calls if "/api/models/" in path} == {"Bearer hf_test"}


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_refusal_is_one_line(
    folder: Path, hub: FakeHub, status: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.fail_with = status
    assert run("export", str(folder), "--hub", "me/mine") == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("inkhorn: cannot upload to me/mine (")
    assert hub.files == {}


def test_no_token(folder: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert run("export", str(folder), "--hub", "me/mine") == 1
    assert "run `hf auth login`, or set HF_TOKEN" in capsys.readouterr().err
    assert hub.calls == []


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--hub", "mine"], 2, "--hub mine: give OWNER/NAME, for example --hub mine/my-gpt"),
        (["--hub", "me/mine/too"], 2, "--hub me/mine/too: "),
        (["--hub", "me/a b"], 2, "--hub me/a b: "),
        (["--hub", "me/-x"], 2, "--hub me/-x: "),
        (["--hub", "me/mine", "out"], 2, "give exactly one output"),
        (["--hub", "me/mine", "--dtype", "float32"], 2, "--dtype float32 needs OUT"),
        (["out", "--dry-run"], 2, "--dry-run needs --hub"),
        (["out", "--private"], 2, "--private needs --hub"),
    ],
)
def test_usage(words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", "shakespeare", *words) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("# No metadata\n", "its metadata, the YAML between two lines ---, is invalid: there is none"),
        ("---\na: [\n---\n", "is invalid: "),
        ("---\n- a\n---\n", "it does not hold names and values"),
        ("---\nlicense: mit\n---\n", "its metadata lacks library_name, such as library_name: transformers"),
    ],
)
def test_a_card_with_bad_metadata(folder: Path, card: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "README.md").write_text(card)
    assert run("export", str(folder), "--hub", "me/mine", "--dry-run") == 1
    assert message in capsys.readouterr().err


def test_packed_weights_are_refused(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "model.safetensors").rename(folder / "model.inkhorn")
    assert run("export", str(folder), "--hub", "me/mine", "--dry-run") == 1
    assert "model.safetensors" in capsys.readouterr().err
