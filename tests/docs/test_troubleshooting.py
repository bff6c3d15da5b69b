"""The error messages in docs/troubleshooting.md are those of the program.

A block that begins with a command is run, and its output compared. The other messages depend on the machine or need a
long run; each must be an instance of a message in the source.
"""

import ast
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from helpers.documentation import blocks
from helpers.models import run, save_checkpoint, tiny_config, tiny_model
from helpers.paths import ROOT

from inkhorn.tokenizer.char import CharTokenizer

PAGE = "docs/troubleshooting.md"
MESSAGES = [block.code.rstrip("\n") for block in blocks(PAGE)]
COMMANDS = [message for message in MESSAGES if message.startswith("$ ")]
OTHERS = [message for message in MESSAGES if not message.startswith("$ ")]


def pattern(text: str) -> str:
    """A regular expression for a message, in which `...` stands for anything."""
    return re.escape(text).replace(re.escape("..."), ".+")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a newcomer."""
    (tmp_path / "my.txt").write_text("once upon a time there was a text of my own\n" * 200)
    (tmp_path / "short.txt").write_text("hello")
    (tmp_path / "cafe.txt").write_bytes("café naïve rôle\n".encode("cp1252") * 300)
    tokenizer = CharTokenizer("once upon a time\n")
    config = tiny_config(vocab_size=tokenizer.vocab_size, bos_token_id=tokenizer.eos_id)
    save_checkpoint(tmp_path / "runs" / "mine", tiny_model(config), tokenizer)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INKHORN_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("message", COMMANDS, ids=lambda message: message.partition("\n")[0])
def test_command_prints_message(message: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, _, expected = message.partition("\n")
    words = shlex.split(command.removeprefix("$ "))
    assert words[0] == "inkhorn"
    code = run(*words[1:])
    shown = capsys.readouterr().err
    assert (code == 0) == ("not in the vocabulary" in expected), "a warning, or an error"
    assert re.search(pattern(expected) + r"\n", shown), shown


@cache
def templates() -> list[re.Pattern[str]]:
    """Every string of the package with at least four words, with anything in place of its expressions."""
    found = []
    for path in (ROOT / "src" / "inkhorn").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [str(part.value) if isinstance(part, ast.Constant) else None for part in node.values]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                parts = [node.value]
            else:
                continue
            words = " ".join(part for part in parts if part is not None).split()
            if len(words) >= 4:
                regex = "".join(".*" if part is None else re.escape(part) for part in parts)
                found.append(re.compile(re.sub(r"(\\\s|\s)+", r"\\s+", regex)))
    return found


@pytest.mark.parametrize("message", OTHERS)
def test_message_exists(message: str) -> None:
    assert message.count("\n") == 0
    texts = (message, message.removeprefix("inkhorn: "))
    assert any(template.fullmatch(text) for template in templates() for text in texts)


def test_message_that_does_not_exist() -> None:
    assert not any(template.fullmatch("the weights of the model are on holiday") for template in templates())
