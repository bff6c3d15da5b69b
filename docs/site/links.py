"""Links between pages: as written for the repository's web view, and as they are in the site.

The pages of docs/ are in the site under the same paths. A link to another file of the repository leads to a page that
shows it: Markdown files as pages, others as source code.
"""

import posixpath
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]

PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "development/contributing.md",
    "SECURITY.md": "development/security.md",
    "examples/README.md": "examples.md",
    "src/inkhorn/assets/shakespeare/README.md": "shakespeare.md",
    "src/inkhorn/assets/shakespeare-char/README.md": "shakespeare-char.md",
}
"""Markdown files outside docs/ that are pages of the site, with their paths there."""

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")
_FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
_LANGUAGES = {
    ".py": "python",
    ".hpp": "cpp",
    ".cpp": "cpp",
    ".h": "cpp",
    ".js": "javascript",
    ".toml": "toml",
    ".yaml": "yaml",
}


def project_urls() -> dict[str, str]:
    """[project.urls] of pyproject.toml, the only place that names a public address."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    urls: dict[str, str] = project.get("urls", {})
    return urls


def site_path(path: str) -> str:
    """The path in the site of a file or folder of the repository."""
    if _is_in_docs(path):
        return path.removeprefix("docs/")
    if path == "README.md":
        return "index.md"
    shown = path.replace(".github/", "github/")  # MkDocs leaves out names that begin with a dot
    return f"source/{shown}/index.md" if (ROOT / path).is_dir() else PAGES.get(path, f"source/{shown}.md")


def targets(markdown: str, page: str) -> set[str]:
    """The files and folders outside docs/ that a page links to, as paths in the repository."""
    found = {_resolve(match[1], page) for match in _LINK.finditer(_FENCE.sub("", markdown))}
    return {path for path in found if not _is_in_docs(path)}


def rewrite(markdown: str, page: str) -> str:
    """A page of the repository as a page of the site: every link leads to where its target is there."""
    here = posixpath.dirname(site_path(page))

    def link(match: re.Match[str]) -> str:
        target = site_path(_resolve(match[1], page))
        return posixpath.relpath(target, here or ".") + (match[2] or "")

    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_LINK.sub(link, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _LINK.sub(link, markdown[end:])])


def source_page(path: str) -> str:
    """The page that shows a file, or the files of a folder."""
    head = f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n"
    file = ROOT / path
    if file.is_dir():
        names = sorted(child.name for child in file.iterdir() if child.suffix in _LANGUAGES)
        return head + "\n".join(f"- `{name}`" for name in names) + "\n"
    text = file.read_text(encoding="utf-8").rstrip("\n")
    return f"{head}~~~~~~{_LANGUAGES.get(file.suffix, 'text')}\n{text}\n~~~~~~\n"


def _is_in_docs(path: str) -> bool:
    """Whether the site has the file itself. Scripts of docs/ are shown as source."""
    return path.startswith("docs/") and not path.endswith(".py") and not (ROOT / path).is_dir()


def _resolve(target: str, page: str) -> str:
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), target))
    if not (ROOT / path).exists():
        raise FileNotFoundError(f"{page} links to {target}, which does not exist")
    return path
