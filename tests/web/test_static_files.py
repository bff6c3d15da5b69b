"""Checks of the page's files that need no browser."""

import ast
import gzip
import json
import re
from pathlib import Path

import pytest
from helpers.paths import ROOT

from inkhorn.web import STATIC_DIR

MODEL = ROOT / "src" / "inkhorn" / "model.py"


def files() -> list[Path]:
    return [path for path in STATIC_DIR.rglob("*") if path.is_file()]


def test_panels_quote_model_py() -> None:
    """Each statement that panels and steps quote is one of model.py, comments and line breaks aside."""
    sources = [STATIC_DIR / "views" / "panels.js", *(STATIC_DIR / "tour").glob("*_steps.js")]
    lists = [
        line
        for source in sources
        for line in re.findall(r"^ +code: (.*),$", source.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    quoted = [json.loads(one) for items in lists for one in re.findall(r'"(?:[^"\\]|\\.)*"', items)]
    assert len(lists) == 6 + 13
    assert all('"' in items for items in lists)
    nodes = ast.walk(ast.parse(MODEL.read_text(encoding="utf-8")))
    statements = {ast.unparse(node) for node in nodes if isinstance(node, ast.stmt)}
    assert [code for code in quoted if ast.unparse(ast.parse(code)) not in statements] == []


def test_no_external_hosts() -> None:
    for file in files():
        if file.suffix == ".wasm":
            continue
        if file.name == "links.js":  # links to follow; test_tour.py checks that nothing is requested
            continue
        hosts = re.findall(r"(?:https?:)?//[a-z][a-z0-9.-]+\.[a-z]{2,}", file.read_text(encoding="utf-8"))
        assert set(hosts) <= {"http://www.w3.org"}, file.name  # the namespace of SVG


def test_steps_of_the_tour_link_to_known_pages() -> None:
    tour = STATIC_DIR / "tour"
    links = re.findall(
        r'^  "([\w-]+)": \["[^"]+", "https://[^"]+"\],$', (tour / "links.js").read_text("utf-8"), re.MULTILINE
    )
    sources = "".join(source.read_text("utf-8") for source in tour.glob("*_steps.js"))
    used = [json.loads(found) for found in re.findall(r"^  links: (\[.+\]),$", sources, re.MULTILINE)]
    assert len(used) == 13
    assert {key for keys in used for key in keys} == set(links)


def test_no_inline_scripts_or_styles() -> None:
    html = (STATIC_DIR / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\bsrc=)", html)


def reachable(page: Path, without: str) -> set[Path]:
    """The page and all files that it may load: those named in it, in what it loads, and so on, without one of them."""
    found: set[Path] = set()
    waiting = [page]
    while waiting:
        file = waiting.pop()
        if file in found or file.name == without or not file.is_file():
            continue
        found.add(file)
        if file.suffix in (".html", ".css", ".js"):
            source = re.sub(r"/\*\* @import .*", "", file.read_text(encoding="utf-8"))
            names = re.findall(r"""["']([\w./-]+\.(?:js|css|wasm|svg))["']""", source)
            waiting += [(file.parent / name).resolve() for name in names]
    return found


@pytest.mark.parametrize(("kind", "other"), [("server", "worker_client.js"), ("static", "http.js")])
def test_size_below_150_kb_compressed(kind: str, other: str) -> None:
    """All that a page can transfer, with either client; models, atlas and snapshots are not counted."""
    loaded = reachable(STATIC_DIR.resolve() / "index.html", other)
    sizes = {file.name: len(gzip.compress(file.read_bytes())) for file in loaded}
    wanted = {"http.js"} if kind == "server" else {"worker_client.js", "worker.js", "kernel.wasm"}
    assert {"main.js", "tour.css", "training_steps.js", "icon.svg"} | wanted <= set(sizes)
    assert sum(sizes.values()) < 150_000, sizes
