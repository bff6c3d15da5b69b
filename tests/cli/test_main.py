"""The command line before a subcommand starts: misspelt commands, prompts without quotes, missing packages."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.models import run

from inkhorn.checkpoint.resolve import SHIPPED
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
        (["generate", "a", "--words", "ten"], "--words must be an integer, not 'ten'"),
        (["generate", "a", "--top-p", "x"], "--top-p must be a number, not 'x'"),
        (["generate", "a", "--quantize", "int2"], "--quantize must be one of bf16, fp32, int4, int8, not 'int2'"),
        (["generate", "a", "--seed"], "--seed needs a value"),
        (["generate", "a", "--max-new-tokens", "3"], "there is no flag --max-new-tokens: use --max-tokens"),
        (["generate", "a", "--temperatur", "1"], "there is no flag --temperatur: did you mean --temperature?"),
        (["generate", "a", "--nonsense"], "there is no flag --nonsense"),
        (["bench", "--ssl-keyfile", "k"], "reverse proxy"),
        (["bench", "--max-steps", "3"], "there is no flag --max-steps"),  # --steps is another command's
        (["info", "x"], "unexpected argument 'x'"),
        (["train", "small", "--lr", "fast"], "--lr must be a number, not 'fast'"),
        (["train", "none.txt"], "there is no recipe or file 'none.txt'"),
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
    monkeypatch.setattr(sys, "prefix", "/home/me/.local/share/uv/tools/inkhorn")
    assert install_command("data") == "uv tool install --force 'inkhorn[data]'"
    monkeypatch.setattr(sys, "prefix", "/home/me/.local/share/pipx/venvs/inkhorn")
    assert install_command("data") == "pipx install --force 'inkhorn[data]'"


@pytest.mark.parametrize("command", [*COMMANDS, "train small"])
def test_help(command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Help fits 80 columns, has an example, names what a word stands for, and has no color codes."""
    monkeypatch.setenv("COLUMNS", "80")
    assert run(*command.split(), "--help") == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "xample:" in shown
    assert "(default: None)" not in " ".join(shown.replace("│", " ").split())
    assert "[STR]" not in shown
    assert "\033" not in shown


def test_python_names_without_torch() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import inspect, inkhorn; from inkhorn import *\n"
        "assert not hasattr(inkhorn, 'GPT') and 'GPT' not in dir(inkhorn)\n"
        "assert {'Model', 'load'} <= {name for name, _ in inspect.getmembers(inkhorn)}; help(inkhorn)\n"
        "try: inkhorn.GPT\n"
        "except AttributeError as error: assert 'inkhorn[train]' in str(error)\n"
    )
    subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL, check=True)


TRY_COMPLETION = {
    "bash": 'source "$0"; words=($1); [[ $1 == *" " ]] && words+=(""); COMP_WORDS=("${words[@]}"); '
    'COMP_CWORD=$((${#words[@]} - 1)); _tyro_inkhorn; printf "%s\\n" "${COMPREPLY[@]}"',
    "zsh": '_describe() { print -l -- ${(P)2%%:*} }; words=(${(s: :)1}); [[ $1 == *" " ]] && words+=(""); '
    'CURRENT=$#words; source "$0"',
    "fish": 'source $argv[1]; complete -C $argv[2] | string split -f1 "\t"',
}


@pytest.mark.parametrize("shell", TRY_COMPLETION)
def test_completion(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert run("--print-completion", shell) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)

    def complete(line: str) -> set[str]:
        program = ["fish", "-N", "-c"] if shell == "fish" else ["zsh", "-f", "-c"] if shell == "zsh" else ["bash", "-c"]
        done = subprocess.run(
            [*program, TRY_COMPLETION[shell], str(script), line],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return set(done.stdout.split("\n")) - {""}

    assert complete("inkhorn ge") == {"generate"}
    assert complete("inkhorn ") >= set(COMMANDS)
    assert complete("inkhorn generate --temp") == {"--temperature"}
    assert complete("inkhorn generate --quantize ") == {"fp32", "bf16", "int8", "int4"}
    (tmp_path / "shop").mkdir()
    for flag in ("generate --model", "serve -m", "train --init-from"):
        assert complete(f"inkhorn {flag} ") == complete(f"inkhorn {flag} sha") == set(SHIPPED)
    if shell != "zsh":  # its completion of files needs a terminal
        assert "shop" in "".join(complete("inkhorn generate --model sho"))
    for command in ("import", "train"):
        assert all(word.startswith("-") for word in complete(f"inkhorn {command} -"))


@pytest.mark.parametrize("words", [[], ["csh"], ["bash", "zsh"]])
def test_completion_needs_a_shell(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--print-completion", *words) == 2
    assert "needs the name of the shell: bash, zsh, fish" in capsys.readouterr().err


def test_environment_of_libraries(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """PyTorch's threads spin for a short time, unless the user says how they wait; MPLBACKEND has no effect."""
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "unset")
        monkeypatch.delenv(name)
    monkeypatch.setenv("MPLBACKEND", "module://not_installed")
    assert run("--version") == 0
    assert os.environ["GOMP_SPINCOUNT"] == "1000"
    assert os.environ["MPLBACKEND"] == "agg"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert run("--version") == 0
    assert "GOMP_SPINCOUNT" not in os.environ
    assert capsys.readouterr().out
