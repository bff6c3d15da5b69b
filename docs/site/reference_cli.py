"""The reference of the command line, from the help that the parser prints."""

import contextlib
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from unittest.mock import patch

from markdown_table import code, plain, table

from inkhorn.cli.main import COMMANDS, USAGE, main
from inkhorn.cli.train_args import DEFAULT_RECIPE

_INTRODUCTION = f"""# Command line

Every command and option of this version, as `inkhorn COMMAND --help` shows them. `inkhorn "PROMPT"` is short for
`inkhorn generate "PROMPT"`. The exit code is 0 on success, 1 after a failure, 2 for invalid usage and 130 after Ctrl-C.

```text
{USAGE}
```
"""


@dataclass
class _Group:
    """A box of the help: its options as (names, help), and the text above them."""

    title: str
    options: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@cache
def help_of(*words: str) -> str:
    """The help of a command, each paragraph on one line."""
    shown = io.TextIOWrapper(
        io.BytesIO(), encoding="utf-8", newline="\n"
    )  # the parser draws its boxes in this encoding
    with (
        patch.dict(os.environ, {"COLUMNS": "2000", "INKHORN_PORT": "", "NO_COLOR": "1"}),
        contextlib.redirect_stdout(shown),
        contextlib.suppress(SystemExit),
    ):
        main([*words, "--help"])
    shown.seek(0)
    return shown.read()


@cache
def page() -> str:
    """The page in Markdown."""
    return "\n".join([_INTRODUCTION, *(line for command in COMMANDS for line in _section(command))])


def _section(command: str) -> Iterator[str]:
    yield f"## inkhorn {command}\n"
    if command == "train":  # its own help lists the recipes; that of a recipe has the options
        yield f"```text\n{help_of('train')}```\n"
        yield f"The options, with the defaults of `{DEFAULT_RECIPE}`:\n"
        text = help_of("train", DEFAULT_RECIPE)
    else:
        text = help_of(command)
        usage, *paragraphs = text[: text.index("╭")].strip().split("\n\n")
        yield f"```text\n{usage.removeprefix('usage: ')}\n```\n"
        for paragraph in paragraphs:
            label, _, example = paragraph.partition("Example: ")
            yield f"Example: {code(example)}\n" if example and not label else f"{plain(paragraph)}\n"
    for group in _groups(text):
        yield f"**{group.title[0].upper()}{group.title[1:]}**\n"
        yield from (f"{plain(note)}\n" for note in group.notes)
        yield table(["", "meaning"], group.options) + "\n"


def _groups(text: str) -> Iterator[_Group]:
    """The boxes of a help. An option is on one line, or on two if its names are long."""
    group = None
    for line in text.splitlines():
        if line.startswith("╭"):
            group = _Group(line.strip("╭╮─ "))
        elif line.startswith("╰") and group is not None:
            group.options = [option for option in group.options if option[0] != code("-h, --help")]
            yield group
        elif group is not None and (content := line.strip("│ ")):
            names, _, words = re.sub(r" {2,}", "\t", line.strip("│").removeprefix(" ").rstrip()).partition("\t")
            if set(content) == {"─"}:
                group.notes, group.options = [option[0] for option in group.options], []
            elif not names:
                group.options[-1][1] += plain(words)
            elif names.startswith("-") or group.title == "positional arguments":
                group.options.append([code(names), plain(words)])
            else:
                group.options.append([names, ""])  # a note, until the line below it
