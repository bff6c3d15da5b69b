"""Checks of the Dockerfile that need no build."""

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
