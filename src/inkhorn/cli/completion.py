"""Shell completion: `inkhorn --print-completion SHELL` prints a script that tyro makes from all flags."""

import io
import re
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from functools import reduce
from importlib import import_module
from operator import or_
from typing import Annotated, Any

import tyro

from inkhorn.checkpoint.resolve import SHIPPED
from inkhorn.errors import require

SHELLS = ("bash", "zsh", "fish")
_MODEL = r"""'description': (?:'[^']*a shipped model[^']*'|\\?"[^"]*a shipped model[^"]*"), 'type': """
"""In tyro's script, the start of a flag's entry whose value may be the name of a shipped model."""
_MATCHING = "[name + chr(9) + name for name in opt.get('models', []) if name.startswith(current_word)]"
"""The completions of such a value. Where no name fits, those of a file follow."""


def completion_script(shell: str, commands: Mapping[str, str]) -> str:
    """The script that completes command lines.

    Args:
        shell: one of SHELLS.
        commands: the module of each command in this package.

    Raises:
        UsageError: there is no script for this shell.
    """
    require(shell in SHELLS, f"--print-completion needs the name of the shell: {', '.join(SHELLS)}")
    kinds: list[Any] = [
        Annotated[
            getattr(import_module(f"inkhorn.cli.{module}"), f"{name.title()}Args"),
            tyro.conf.subcommand(name, prefix_name=False),
        ]
        for name, module in commands.items()
    ]
    output = io.StringIO()
    with redirect_stdout(output), suppress(SystemExit):  # tyro ends the process after printing
        tyro.cli(
            reduce(or_, kinds),
            args=["--tyro-print-completion", shell],
            prog="inkhorn",
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    script = re.sub(r"'None', |, 'None'(?=\])", "", output.getvalue())  # no value of a flag: see parsing.parse
    script = re.sub(rf"({_MODEL})'(?:path|value)'", rf"\1'path', 'models': {list(SHIPPED)}", script)
    script = re.sub(r"return \[(\\?\"__TYRO_COMPLETE_FILES__\\?\")\]", rf"return {_MATCHING} or [\1]", script)
    current = "set -l current (count $words)\n"  # in fish, words lack the one under the cursor
    script = script.replace(current, f"{current}    set -a words (commandline -ct)\n")
    return script.replace("complete -F ", "complete -o default -F ")  # in bash: file names where nothing else fits
