"""The command line before a subcommand starts: misspelt commands, prompts without quotes, missing packages."""

import sys
from pathlib import Path

import pytest
from helpers.models import run

from inkhorn.cli import main as module
from inkhorn.cli.main import COMMANDS, install_command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["sevre"],
            "there is no command 'sevre': did you mean 'serve'? To continue the text 'sevre': inkhorn generate",
        ),
        (["genrate", "ROMEO:"], "did you mean 'generate'?"),
        (["trian", "small", "--steps", "5"], "did you mean 'train'?"),
        (["To", "be", "or", "not", "--seed", "1"], 'put the prompt in quotes: inkhorn "To be or not"'),
        (["generate", "To", "be"], 'put the prompt in quotes: inkhorn "To be"'),
    ],
)
def test_usage_errors(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1


@pytest.mark.parametrize("command", [command for command in COMMANDS if len(command) > 4])
def test_every_command_is_suggested_for_swapped_letters(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    swapped = command[0] + command[2] + command[1] + command[3:]
    assert run(swapped) == 2
    assert f"did you mean {command!r}?" in capsys.readouterr().err


def test_prompts_are_not_commands() -> None:
    for prompt in ("ROMEO:", "Server", "the serve", "love", "to be", ""):
        module._check_command(prompt)


def test_help_and_version_as_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("help") == 0
    assert capsys.readouterr().out.startswith('usage: inkhorn "PROMPT"')
    assert run("version") == 0
    assert capsys.readouterr().out.startswith("inkhorn ")
    assert run("help", "data") == 0
    assert "[CORPUS]" in capsys.readouterr().out


def test_install_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = Path(module.__file__).parents[3]
    monkeypatch.setattr(sys, "prefix", "/my env")
    monkeypatch.setattr(sys, "executable", "/my env/bin/python")
    monkeypatch.setattr(module, "find_spec", lambda name: True)
    assert install_command("train") == f"'/my env/bin/python' -m pip install -e '{clone}[train]'"
    monkeypatch.setattr(module, "__file__", str(tmp_path / "site-packages" / "inkhorn" / "cli" / "main.py"))
    assert install_command("train") == "'/my env/bin/python' -m pip install 'inkhorn[train]'"
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert install_command("data") == "uv pip install --python '/my env/bin/python' 'inkhorn[data]'"
    monkeypatch.setattr(sys, "prefix", "/home/me/.cache/uv/archive-v0/abc")
    assert install_command("data") == "uvx --from 'inkhorn[data]' inkhorn ..."
