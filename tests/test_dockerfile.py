"""Checks of the Dockerfile that need no build."""

import json
import re

from helpers.paths import ROOT


def test_dockerfile_copies_existing_files() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    not_ignored = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {name for line in re.findall(r"^COPY (?!--)(.*) \S+$", dockerfile, re.M) for name in line.split()}
    assert copied == not_ignored
    assert all((ROOT / name).exists() for name in copied)
    assert "\nUSER inkhorn\n" in dockerfile
    assert re.search(r"HEALTHCHECK .*\n.*INKHORN_PORT'\] \+ '/health'", dockerfile), (
        "readiness fails while a queue is full"
    )


def test_devcontainer_has_the_tools_of_the_tests() -> None:
    folder = ROOT / ".devcontainer"
    lines = (folder / "devcontainer.json").read_text(encoding="utf-8").splitlines()
    settings = json.loads("\n".join(line for line in lines if not line.startswith("//")))
    dockerfile = (folder / settings["build"]["dockerfile"]).read_text(encoding="utf-8")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    needed = {name for names in re.findall(r"packages\+=\(([^$)]+)\)", ci) for name in names.split()}
    assert needed >= {"g++", "git", "nodejs", "chromium"}
    assert needed <= set(dockerfile.split())
    assert f"useradd --create-home --shell /bin/bash {settings['remoteUser']} " in dockerfile
    assert settings["postCreateCommand"] == "make .venv/dev"
