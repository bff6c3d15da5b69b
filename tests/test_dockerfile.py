"""The image's recipe: no build runs here, but what it copies is there and let through."""

import re

from helpers.paths import ROOT


def test_what_the_image_copies_is_there_and_let_through() -> None:
    recipe = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {name for line in re.findall(r"^COPY (?!--)(.*) \S+$", recipe, re.M) for name in line.split()}
    assert copied == let_through
    assert all((ROOT / name).exists() for name in copied)
    assert "\nUSER inkhorn\n" in recipe
    assert "HEALTHCHECK" in recipe
