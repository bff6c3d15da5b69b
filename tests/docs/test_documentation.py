"""Every command and program in the documentation runs, and every link has a target.

The blocks of a page run in order in one folder, as a reader would run them. Long commands
are shortened: training makes one step on a short text. A block that cannot run offline on a CPU is preceded by
`<!-- not run: REASON -->`; only the flags of its commands are checked against the help.
"""

import contextlib
import io
import json
import os
import pickle
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from helpers.checkpoints import LetsBuildGPT, NanoGPT
from helpers.documentation import OUTPUT_LANGUAGES, PAGES, Block, anchors, blocks
from helpers.models import run, save_checkpoint, tiny_config, tiny_model
from helpers.paths import ROOT
from helpers.server_process import ServerProcess, run_server

from inkhorn.checkpoint.resolve import SHIPPED
from inkhorn.cli.main import COMMANDS, main
from inkhorn.config.recipes import RECIPES
from inkhorn.data.corpora import CORPORA
from inkhorn.tokenizer.char import CharTokenizer

MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
SHORT_TRAINING = ["--steps", "1", "--batch-size", "1", "--grad-accum", "1", "--sample-tokens", "0", "--compile", "off"]
SMALL_SHAPE = [
    "--n-layer",
    "1",
    "--n-head",
    "2",
    "--n-embd",
    "16",
    "--block-size",
    "16",
    "--tokenizer",
    "bpe",
    "--vocab-size",
    "300",
]
CHAPTERS = re.compile(r"docs/course/\d\d_.*")
"""Pages of the course, each one a program in parts: tests/course runs it."""
RUNNABLE_PAGES = [
    page
    for page in PAGES
    if any(b.language not in OUTPUT_LANGUAGES for b in blocks(page)) and not CHAPTERS.fullmatch(page)
]
SLOW_PAGES = ("docs/training.md", "docs/gpt2.md", "docs/how-to/evaluate.md", "src/inkhorn/assets/shakespeare/README.md")
"""Pages whose commands take long: `make test-all` runs them."""
EXAMPLES = "examples/README.md"
"""Its blocks are recorded output of the examples, which test_examples.py runs."""


class Reader:
    """Runs commands in a folder, and creates the files that they need and the page does not create."""

    def __init__(self, folder: Path, server: Callable[[], ServerProcess], capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._server, self._capsys = folder, server, capsys
        self._created: set[Path] = set()

    def run_block(self, block: Block) -> None:
        if block.language == "python":
            self._python(block.code)
            return
        assert block.language == "", f"a block in {block.language!r} is neither run nor output"
        for words in block.commands:
            self._command(words)

    def _command(self, words: list[str]) -> None:
        words = [word.removeprefix(".venv/bin/") for word in words]
        if words[0] == "uvx":
            words = words[words.index("inkhorn") :]
        if words[0] == "make":
            assert words[1] in MAKE_TARGETS, words
        elif words[0] == "inkhorn":
            self._inkhorn(words[1:])
        elif words[0] == "torchrun":
            self._torchrun(words)
        elif words[0] == "python3":
            self._script(words[1:])
        elif words[0] == "curl":
            command = " ".join(shlex.quote(self._at_server(word)) for word in words)
            assert json.loads(self._shell(command))["choices"]
        else:
            pytest.fail(f"the documentation shows {words[0]!r}, which this test does not know")

    def _inkhorn(self, words: list[str]) -> None:
        command = words[0] if words[0] in COMMANDS else "generate"
        self._create_models(words)
        if command == "serve":
            with run_server(*words[1:]) as server:
                key = self._option(words, "--api-key") or "none"
                assert openai.OpenAI(base_url=f"{server.url}/v1", api_key=key).models.list().data
            return
        if command == "train":
            words = self._shorten(words)
        elif command == "generate" and "--seed" not in words:
            words = [*words, "--seed", "1"]  # some seeds write only spaces with these small models
        elif command in ("eval", "data") and not {"--text", "--corpus"} & set(words):
            words = [*words, *(["--text", "my.txt"] if command == "eval" else [])]
        assert run(*words) == 0, (words, self._capsys.readouterr())
        shown = self._capsys.readouterr()
        assert shown.out.strip() or command in ("train", "import", "export", "data"), words

    def _shorten(self, words: list[str]) -> list[str]:
        """A training command for one step on a small model and text."""
        if "--corpus" in words:
            at = words.index("--corpus")
            words = [*words[:at], "--text", "my.txt", *words[at + 2 :]]
        if "--resume" in words and (self.folder / self._option(words, "--out")).is_dir():
            return [*words, "--steps", "2"]
        words = [*words, *SHORT_TRAINING]
        if not {"--text", "my.txt"} & set(words):
            words += ["--text", "my.txt"]
        return words if "--init-from" in words else [*words, *SMALL_SHAPE]

    @staticmethod
    def _option(words: list[str], name: str) -> str:
        return words[words.index(name) + 1] if name in words else ""

    def _create_models(self, words: list[str]) -> None:
        for name in ("--model", "-m", "--init-from"):
            for at, word in enumerate(words[:-1]):
                if word == name:
                    self._model(words[at + 1])
        if words[0] == "serve":
            for name in takewhile(lambda word: not word.startswith("-"), words[1:]):
                self._model(name)
            if folder := self._option(words, "--models-dir"):
                self._model(f"{folder}/{self._option(words, '--pin')}")
        if words[0] == "export":
            self._model(words[1])
        if words[0] == "import" and words[1] == "FOLDER":
            self._model("FOLDER")
        if words[0] == "train":
            out = self.folder / self._option(words, "--out")
            if out in self._created and "--resume" not in words:
                subprocess.run(["rm", "-rf", str(out)], check=True)
                self._created.remove(out)

    def _model(self, name: str) -> None:
        """Create a tiny model under the name of one that the page expects."""
        path = self.folder / name
        if ("/" not in name and name != "FOLDER") or path.exists():
            return
        tokenizer = CharTokenizer((self.folder / "my.txt").read_text() + "The meaning of a word")
        end = tokenizer.eos_id
        config = tiny_config(vocab_size=tokenizer.vocab_size, block_size=32, bos_token_id=end, eos_token_id=end)
        save_checkpoint(path, tiny_model(config), tokenizer)
        self._created.add(path)

    def _torchrun(self, words: list[str]) -> None:
        at = words.index("train")
        launcher = [sys.executable, "-m", "torch.distributed.run", *words[1 : words.index("-m")]]
        command = [*launcher, "-m", "inkhorn", *self._shorten(words[at:]), "--batch-size", "2"]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": ""}
        subprocess.run(command, cwd=self.folder, env=environment, check=True, capture_output=True, timeout=300)

    def _script(self, words: list[str]) -> None:
        done = subprocess.run(
            [sys.executable, str(ROOT / words[0]), *words[1:]],
            input="ROMEO:\n5\n", cwd=self.folder, capture_output=True, text=True, timeout=300, check=True,
        )  # fmt: skip
        assert "ROMEO:" in done.stdout

    def _python(self, program: str) -> None:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", self._at_server(program)],
            cwd=self.folder, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() or "print" not in program

    def _at_server(self, text: str) -> str:
        text = text.replace("path/to/this/folder", str(SHIPPED["shakespeare"]))
        address = "http://127.0.0.1:8000"
        return text.replace(address, self._server().url) if address in text else text

    def _shell(self, command: str) -> str:
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=300, check=True)
        return done.stdout


def write_import_sources(folder: Path, text: str) -> None:
    """The files that docs/checkpoints.md imports, each in its original format, with random weights."""
    letters = sorted(set(text))
    torch.save(LetsBuildGPT(len(letters)).state_dict(), folder / "lecture.pth")
    torch.save(NanoGPT(len(letters), n_head=6, nano=False).state_dict(), folder / "model.pt")
    nano = NanoGPT(len(letters))
    torch.save({"model": nano.state_dict(), "model_args": nano.model_args}, folder / "ckpt.pt")
    meta = {"vocab_size": len(letters), "itos": dict(enumerate(letters)), "stoi": {c: i for i, c in enumerate(letters)}}
    (folder / "meta.pkl").write_bytes(pickle.dumps(meta))


@pytest.fixture(scope="module")
def server() -> Any:
    """A running server, started for the first page that needs one."""
    with contextlib.ExitStack() as stack:
        yield cache(lambda: stack.enter_context(run_server()))


@pytest.fixture
def reader(
    tmp_path: Path,
    server: Callable[[], ServerProcess],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Reader:
    text = "".join(f"once upon a time there was a text of my own, and it had {i} words\n" for i in range(400))
    for name in ("my.txt", "input.txt", "books/one.txt", "books/two.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "rows.jsonl").write_text("".join(json.dumps({"text": text[:2000]}) + "\n" for _ in range(60)))
    write_import_sources(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INKHORN_CACHE", str(tmp_path / "cache"))
    return Reader(tmp_path, server, capsys)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.slow if page in SLOW_PAGES else ())
        for page in RUNNABLE_PAGES
        if page != EXAMPLES
    ],
)
def test_blocks_run(page: str, reader: Reader) -> None:
    for block in blocks(page):
        if block.language not in OUTPUT_LANGUAGES and block.reason is None:
            reader.run_block(block)


@cache
def help_of(*words: str) -> str:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        assert main([*words, "--help"]) == 0
    return shown.getvalue()


@pytest.mark.parametrize("page", RUNNABLE_PAGES)
def test_flags_of_skipped_blocks_exist(page: str) -> None:
    for block in blocks(page):
        if block.reason is None or block.language:
            continue
        for words in block.commands:
            if not any(word.endswith("inkhorn") for word in words) or words[0] in (
                "docker",
                "git",
                "cd",
                "pip",
                "INKHORN_API_KEY=SECRET",
            ):
                continue
            at = next(i for i, word in enumerate(words) if word.endswith("inkhorn"))
            command, *rest = words[at + 1 :]
            recipe = [rest[0] if rest and rest[0] in RECIPES else "finetune"] if command == "train" else []
            shown = help_of(command, *recipe)
            for flag in (word for word in rest if word.startswith("--")):
                assert re.search(rf"{flag}\b", shown), f"{command} has no {flag}"


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target, heading in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        file = (ROOT / page).parent / target if target else ROOT / page
        assert file.exists(), target
        if heading:
            assert heading in anchors(file), heading


def test_gpt2_guide_cost_table(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "gpt2.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| (\S+)[MB].*? \| (\S+e\d+) \| (\d) (A100|H100).*? \| ([\d,]+) \| .* \| (\S+) \|$", page, re.M
    )
    assert len(rows) == 5
    for tokens, flops, devices, device, speed, dollars in rows:
        peak, price = {"A100": ("312", "2"), "H100": ("989", "3")}[device]
        amount = {"100": 100_000_000, "2.46": 2_457_600_000, "10": 10_000_000_000}[tokens]
        flags = ["--tokens", str(amount), "--peak-tflops", peak, "--price", price, "--devices", devices]
        assert main(["estimate", "gpt2", *flags, "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert float(flops) == pytest.approx(facts["flops"], rel=0.01)
        assert float(speed.replace(",", "")) == pytest.approx(facts["time"]["tokens_per_second"], rel=0.005)
        assert float(dollars) == pytest.approx(facts["time"]["cost"], rel=0.1)


def test_documented_corpora_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"--corpus (\S+)|inkhorn data ([a-z][\w-]+)", (ROOT / page).read_text(encoding="utf-8")):
            corpus = "".join(name).strip("`,.)")
            assert corpus in CORPORA or corpus.startswith("fineweb-edu") or corpus == "NAME", name
