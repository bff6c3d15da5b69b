"""The command `inkhorn`: picks the module of the command asked for, and turns errors into messages and exit codes."""

import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from inkhorn.errors import InkhornError

COMMANDS = {
    "generate": 'continue a prompt; the word may be left out: inkhorn "ROMEO:"',
    "serve": "serve an OpenAI-compatible API and a web UI at http://127.0.0.1:8000",
    "train": "train a model by a recipe, on a named corpus or your own text",
    "estimate": "what a model costs: parameters, FLOPs, memory, time, and how much text it should see",
    "eval": "the loss of a model over a whole text, or its marks in public benchmarks",
    "data": "list and build the named corpora",
    "bench": "tokens a second of a checkpoint, and the share of what this machine can do",
    "info": "which backend writes here, and why",
    "import": "convert a checkpoint from the Hugging Face hub, nanoGPT, minGPT or a state dict",
    "export": "convert a checkpoint for transformers, the kernel, torch, llama.cpp or the browser",
}

_MODULES = {"import": "import_"}  # where the command's name is a word of Python's

EXTRAS = {
    "torch": "train",
    "matplotlib": "train",
    "jinja2": "train",
    "fastapi": "serve",
    "pydantic": "serve",
    "starlette": "serve",
    "uvicorn": "serve",
    "prometheus_client": "serve",
    "huggingface_hub": "hub",
    "gguf": "gguf",
    "lm_eval": "eval",
    "datasets": "data",
    "pooch": "data",
}
"""Which half of the installation brings a module."""

USAGE = "\n".join(
    [
        'usage: inkhorn "PROMPT" [options]      write Shakespeare',
        "       inkhorn COMMAND [options]       inkhorn COMMAND --help says more",
        "",
        "commands:",
        *(f"  {name:10}{about}" for name, about in COMMANDS.items()),
        "",
        "  --version and --help print this program's version and this page",
    ]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code: 0 done, 1 failed, 2 not a valid request, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a character shows ? for it
    try:
        code = _dispatch(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a failure still gets its message
        return code
    except InkhornError as error:
        print(f"inkhorn: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except KeyboardInterrupt:
        print("\ninkhorn: interrupted", file=sys.stderr)  # noqa: T201
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        _drop_output()
        return 0
    except OSError as error:  # a folder that may not be written, a disk that is full: the system says which
        if error.filename is None:
            _drop_output()
        what = f"{error.filename}: " if error.filename is not None else "cannot write: "
        print(f"inkhorn: {what}{error.strerror or error}", file=sys.stderr)  # noqa: T201
        return 1
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        half = EXTRAS.get(missing)
        if half is None:
            raise
        told = f"inkhorn: this needs {missing}: pip install 'inkhorn[{half}]', or in a clone pip install -e '.[{half}]'"
        print(told, file=sys.stderr)  # noqa: T201
        return 1


def _drop_output() -> None:
    """What Python still holds for standard output goes nowhere, or its flush at the exit would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(arguments: list[str]) -> int:
    first = arguments[0] if arguments else ""
    if first in ("-h", "--help") or (not arguments and (sys.stdin is None or sys.stdin.isatty())):
        print(USAGE)  # noqa: T201
        return 0
    if first == "--version":
        from inkhorn import __version__

        print(f"inkhorn {__version__}")  # noqa: T201
        return 0
    command, rest = (first, arguments[1:]) if first in COMMANDS else ("generate", arguments)
    run: Callable[[list[str]], int] = import_module(f"inkhorn.cli.{_MODULES.get(command, command)}").run
    return run(rest)


if __name__ == "__main__":
    sys.exit(main())
