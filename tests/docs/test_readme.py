"""Every command of the README does what it says, in the README's order, and every link leads somewhere."""

import io
import json
import os
import random
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout, suppress
from functools import cache
from pathlib import Path

import pytest
from helpers.paths import ROOT

from inkhorn.cli.main import COMMANDS as COMMANDS_THERE
from inkhorn.cli.main import main
from inkhorn.config.recipes import RECIPES
from inkhorn.data.corpora import load_corpus

README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(page: str) -> list[str]:
    """The lines of its blocks of commands, which name no language."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.M | re.S)
    return [line.partition("  #")[0].strip() for kind, block in blocks if not kind for line in block.splitlines()]


COMMANDS = commands(README)
# However it is found, the command itself is the same.
FOUND = [re.sub(r"^(\.venv/bin/|uvx --from \. )", "", c) for c in COMMANDS if re.match(r"\S*(uvx .*)?inkhorn ", c)]
FAR = re.compile(r"models/|fineweb|import |serve")  # the web and the models that come from there; what runs for ever
INKHORN = [c for c in dict.fromkeys(FOUND) if not FAR.search(c)]

# Real training takes hours and a corpus takes a network: the same commands on a short text, for one step.
BRIEFLY = ["--text", "my.txt", "--steps", "1", "--batch-size", "1", "--sample-tokens", "0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    known = ("once", "upon", "a", "time", "there", "was", "text", "of", "my", "own,", "and", "it", "had", "words\n")
    words = random.Random(1).choices(known, k=3000)
    (folder / "my.txt").write_text(" ".join(words))
    return folder


def test_there_are_commands() -> None:
    assert {"train", "eval", "export", "estimate"} <= {command.split()[1] for command in INKHORN}
    assert "make demo" in COMMANDS
    assert "make test" in COMMANDS


@pytest.mark.parametrize("command", INKHORN)
def test_a_command_works(command: str, folder: Path) -> None:
    words = shlex.split(command)[1:]
    if words[0] == "train":
        words += BRIEFLY
    elif words == ["eval"]:
        words += BRIEFLY[:2]
    environment = os.environ | {"INKHORN_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-m", "inkhorn", *words]
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    if words[0] != "train":
        assert done.stdout.strip()


# What a guide tells takes GPUs, days and the web: its commands are looked up in the helps of today's.
GUIDED = commands((ROOT / "docs" / "gpt2.md").read_text(encoding="utf-8"))
GUIDED += [c.replace(".venv/bin/", "") for c in COMMANDS if "inkhorn " in c and FAR.search(c)]


@cache
def helped(*words: str) -> str:
    told = io.StringIO()
    with redirect_stdout(told), suppress(SystemExit):
        assert main([*words, "--help"]) == 0
    return told.getvalue()


@pytest.mark.parametrize("command", GUIDED)
def test_a_command_of_the_guide_could_be_given(command: str) -> None:
    launcher, _, plain = command.partition("inkhorn ")
    assert re.fullmatch(r"(torchrun (--standalone )?--nproc-per-node 8 (--max-restarts 3 )?-m )?", launcher)
    words = shlex.split(plain)
    assert words[0] in COMMANDS_THERE
    recipe = [words[1] if words[1] in RECIPES else "finetune"] if words[0] == "train" else []
    model = ["gpt2"] if words[0] == "estimate" else []
    there = helped(words[0], *recipe, *model)
    for flag in words:
        if flag.startswith("--"):
            assert re.search(rf"{flag}\b", there), flag
    for name in re.findall(r"fineweb-edu-\w+", command):
        assert load_corpus(name)
    for name in words[words.index("--tasks") + 1 :] if "--tasks" in words else []:
        if name.startswith("--"):
            break
        assert name in there


def test_the_guide_s_figures_are_the_estimate_s(capsys: pytest.CaptureFixture[str]) -> None:
    """Each row of its table of costs, from the numbers in it."""
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
    assert done.stdout.strip() or "print" not in program
