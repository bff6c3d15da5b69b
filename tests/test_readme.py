"""Every command of the README does what it says, in the README's order, and every link leads somewhere."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```", README, re.M | re.S)
COMMANDS = [line.partition("  #")[0].strip() for block in BLOCKS for line in block.splitlines()]
# However it is found, the command itself is the same.
FOUND = [re.sub(r"^(\.venv/bin/|uvx --from \. )", "", c) for c in COMMANDS if re.match(r"\S*(uvx .*)?inkhorn ", c)]
INKHORN = list(dict.fromkeys(FOUND))

# Real training takes hours and a corpus takes a network: the same commands on a short text, for one step.
BRIEFLY = ["--text", "my.txt", "--steps", "1", "--batch-size", "1", "--sample-chars", "0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    (folder / "my.txt").write_text("Once upon a time there was a text of my own.\n" * 100)
    return folder


def test_there_are_commands() -> None:
    assert len(INKHORN) >= 6
    assert "make demo" in COMMANDS
    assert "make test" in COMMANDS


@pytest.mark.parametrize("command", INKHORN)
def test_a_command_works(command: str, folder: Path) -> None:
    words = shlex.split(command)[1:]
    if words[0] == "train":
        words += BRIEFLY
    environment = os.environ | {"INKHORN_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-m", "inkhorn", *words]
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    if words[0] != "train":
        assert done.stdout.strip()


def test_make_has_the_targets() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)
    for command in COMMANDS:
        if command.startswith("make "):
            assert command.split()[1] in targets


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))])
def test_every_link_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target, heading in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        file = (ROOT / page).parent / target if target else ROOT / page
        assert file.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)", file.read_text(encoding="utf-8"), re.M)
            assert heading in [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings], heading


@pytest.mark.parametrize("program", re.findall(r"^```python\n(.*?)^```", README, re.M | re.S))
def test_a_program_runs(program: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 100
