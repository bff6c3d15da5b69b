"""Checks of the page's files that need no browser."""

import ast
import gzip
import json
import re
from pathlib import Path

from helpers.paths import ROOT

from inkhorn.web import STATIC_DIR

MODEL = ROOT / "src" / "inkhorn" / "model.py"


def files() -> list[Path]:
    return [path for path in STATIC_DIR.rglob("*") if path.is_file()]


def test_panels_quote_model_py() -> None:
    """Each quoted statement is one of model.py, comments and line breaks aside."""
    source = (STATIC_DIR / "views" / "panels.js").read_text(encoding="utf-8")
    lists = re.findall(r"^    code: \[(.*)\],$", source, re.MULTILINE)
    quoted = [json.loads(one) for items in lists for one in re.findall(r'"(?:[^"\\]|\\.)*"', items)]
    assert len(lists) == 10
    assert len(quoted) >= len(lists)
    nodes = ast.walk(ast.parse(MODEL.read_text(encoding="utf-8")))
    statements = {ast.unparse(node) for node in nodes if isinstance(node, ast.stmt)}
    assert [code for code in quoted if ast.unparse(ast.parse(code)) not in statements] == []


def test_no_external_hosts() -> None:
    for file in files():
        if file.suffix == ".wasm":
            continue
        hosts = re.findall(r"(?:https?:)?//[a-z][a-z0-9.-]+\.[a-z]{2,}", file.read_text(encoding="utf-8"))
        assert set(hosts) <= {"http://www.w3.org"}, file.name  # the namespace of SVG


def test_no_inline_scripts_or_styles() -> None:
    html = (STATIC_DIR / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\bsrc=)", html)


def test_size_below_150_kb_compressed() -> None:
    exported = [file for file in files() if not file.name.startswith("docs.")]
    assert sum(len(gzip.compress(file.read_bytes())) for file in exported) < 150_000
