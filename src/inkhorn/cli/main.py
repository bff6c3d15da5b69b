"""The `inkhorn` command: dispatches to a subcommand, and turns errors into messages and exit codes."""

import difflib
import io
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path

from inkhorn.cli.missing_file import with_downloads
from inkhorn.errors import InkhornError, UsageError

COMMANDS = {
    "generate": 'continue a prompt; the default command: inkhorn "ROMEO:"',
    "serve": "serve an OpenAI-compatible API and a web UI at http://127.0.0.1:8000",
    "train": "train or fine-tune a model on a corpus or your own text",
    "estimate": "estimate the parameters, FLOPs, memory and training time of a model",
    "eval": "evaluate a model: the loss on a text, or benchmark tasks of lm-eval",
    "inspect": "score what each attention head of a model looks at",
    "steer": "make a steering vector from two texts",
    "data": "list and build corpora",
    "learn": "build a GPT in ten chapters, with exercises that are checked",
    "bench": "measure generation speed on this machine",
    "info": "show versions, the inference backend and why it was selected",
    "import": "convert a checkpoint from the Hugging Face hub, nanoGPT, minGPT or a state dict",
    "export": "convert a checkpoint for transformers, the kernel, torch, llama.cpp or the browser",
}

_MODULES = {"import": "import_"}  # commands whose name is a Python keyword

EXTRAS = {
    **dict.fromkeys(("torch", "matplotlib", "jinja2"), "train"),
    **dict.fromkeys(("anyio", "fastapi", "pydantic", "starlette", "uvicorn", "prometheus_client"), "serve"),
    **dict.fromkeys(("datasets", "pooch", "zstandard"), "data"),
    **{"ray": "ray", "huggingface_hub": "hub", "gguf": "gguf", "lm_eval": "eval"},
}
"""The extra that installs a package."""

_COMMAND_LIST = "\n".join(f"  {name:10}{summary}" for name, summary in COMMANDS.items())
USAGE = f"""usage: inkhorn "PROMPT" [options]
       inkhorn COMMAND [options]

Train, run, inspect and serve GPT-1 and GPT-2 models.

commands:
{_COMMAND_LIST}

options:
  -h, --help  show this help; inkhorn COMMAND --help shows that of a command
  --version   show the version
  --print-completion SHELL
              print a script that completes commands and flags in bash, zsh or fish

example: inkhorn "ROMEO:" --max-words 80"""


def _set_environment() -> None:
    """Set what PyTorch and matplotlib read when they are imported."""
    # PyTorch's threads wait for each other after every operation. GCC's OpenMP spins for milliseconds by default:
    # beside one busy process a training step took twice as long (docs/log.md).
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # Charts are only written to files. A notebook's MPLBACKEND may name a module that is not installed beside inkhorn.
    os.environ["MPLBACKEND"] = "agg"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code: 0 success, 1 failure, 2 invalid usage, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _set_environment()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show a character prints ?
    try:
        code = with_downloads(lambda: _dispatch(arguments))
        if sys.stdout is not None:
            sys.stdout.flush()  # here, so that a failure is reported
        return code
    except InkhornError as error:
        print(f"inkhorn: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\ninkhorn: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader closed the pipe, as `| head` does
        _drop_output()
        return 0
    except OSError as error:  # such as a read-only folder or a full disk
        if error.filename is None:
            _drop_output()
        what = f"{error.filename}: " if error.filename is not None else "cannot write: "
        print(f"inkhorn: {what}{error.strerror or error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        extra = EXTRAS.get(missing)
        if extra is None:
            raise
        print(f"inkhorn: this command needs {missing}: {install_command(extra)}", file=sys.stderr)
        return 1


def install_command(extra: str) -> str:
    """The command that installs an extra into the environment of this process."""
    parts = set(Path(sys.prefix).parts)
    if {"uv", "archive-v0"} <= parts:
        return f"uvx --from 'inkhorn[{extra}]' inkhorn ..."
    if {"uv", "tools"} <= parts:
        return f"uv tool install --force 'inkhorn[{extra}]'"
    if {"pipx", "venvs"} <= parts:
        return f"pipx install --force 'inkhorn[{extra}]'"
    clone = Path(__file__).parents[3]
    what = f"-e '{clone}[{extra}]'" if (clone / "pyproject.toml").is_file() else f"'inkhorn[{extra}]'"
    python = shlex.quote(sys.executable)
    return f"{python} -m pip install {what}" if find_spec("pip") else f"uv pip install --python {python} {what}"


def _drop_output() -> None:
    """Discard what is still buffered for standard output, whose flush at exit would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(arguments: list[str]) -> int:
    first = arguments[0] if arguments else ""
    if first in ("-h", "--help") or (not arguments and (sys.stdin is None or sys.stdin.isatty())):
        print(USAGE)
        return 0
    if first == "help" and len(arguments) <= 2:
        return _dispatch([*arguments[1:], "--help"])
    if first == "--version" or arguments == ["version"]:
        from inkhorn import __version__

        print(f"inkhorn {__version__}")
        return 0
    if first == "--print-completion":
        from inkhorn.cli.completion import completion_script

        shell = arguments[1] if len(arguments) == 2 else ""
        print(completion_script(shell, {name: _MODULES.get(name, name) for name in COMMANDS}), end="")
        return 0
    if first not in COMMANDS:
        _check_command(first)
    command, rest = (first, arguments[1:]) if first in COMMANDS else ("generate", arguments)
    if command == "generate":
        _check_prompt(rest)
    run: Callable[[list[str]], int] = import_module(f"inkhorn.cli.{_MODULES.get(command, command)}").run
    return run(rest)


def _check_command(word: str) -> None:
    """Raise UsageError for a word that is probably a misspelt command, not a prompt."""
    close = difflib.get_close_matches(word, COMMANDS, n=1, cutoff=0.8) if re.fullmatch("[a-z]+", word) else []
    if close:
        raise UsageError(
            f"there is no command {word!r}: did you mean {close[0]!r}? To continue the text {word!r}: "
            f"inkhorn generate {word}"
        )


def _check_prompt(words: Sequence[str]) -> None:
    """Raise UsageError for a prompt of several words without quotes."""
    prompt = list(takewhile(lambda word: not word.startswith("-"), words))
    if len(prompt) > 1:
        raise UsageError(f'put the prompt in quotes: inkhorn "{" ".join(prompt)}"')


if __name__ == "__main__":
    sys.exit(main())
