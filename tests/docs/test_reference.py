"""The generated reference pages contain every command, flag, public name, route, setting and metric.

These are the pages in Markdown, which need no MkDocs; test_site.py builds the site.
"""

import re
from typing import Any

import links
import pytest
import reference_cli
import reference_configuration
import reference_http
import reference_metrics
import reference_python
import yaml
from helpers.documentation import PAGES
from helpers.paths import ROOT
from markdown_table import code

import inkhorn
from inkhorn.cli.main import COMMANDS
from inkhorn.config.bounds import field_specs
from inkhorn.config.recipes import RECIPES
from inkhorn.server.metrics import Metrics
from inkhorn.server.model_registry import ModelRegistry
from inkhorn.server.settings import ServerConfig


def section(page: str, heading: str) -> str:
    """The text below a heading, up to the next one."""
    return page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_flags(command: str) -> None:
    shown = section(reference_cli.page(), f"inkhorn {command}")
    words = {
        word for names in re.findall(r"^\| <code>(.*?)</code> \|", shown, re.M) for word in re.split("[ ,]+", names)
    }
    help_text = reference_cli.help_of(*(("train", "small") if command == "train" else (command,)))
    flags = set(re.findall(r"^\W+(--[\w-]+)", help_text, re.M)) - {"--help"}
    assert flags <= words


def test_recipes() -> None:
    shown = section(reference_cli.page(), "inkhorn train")
    assert all(re.search(rf"^  {re.escape(name)} ", shown, re.M) for name in RECIPES)


def test_routes_and_fields() -> None:
    page, document = reference_http.page(), reference_http.document()
    for name, operation in reference_http.operations(document):
        shown = section(page, name)
        assert all(f"\n| {status} |" in shown for status in operation["responses"])
    for name, schema in document["components"]["schemas"].items():
        shown = page.split(f"\n### {name}\n", 1)[1].split("\n### ", 1)[0]
        assert all(f"| {code(field)} |" in shown for field in schema.get("properties", ()))
    assert set(re.findall(r"\]\(#(\w+)\)", page)) <= {name.lower() for name in document["components"]["schemas"]}


def test_type_in_words() -> None:
    schema = {"anyOf": [{"type": "array", "items": {"$ref": "#/components/schemas/Usage"}}, {"type": "null"}]}
    assert reference_http._type(schema) == "list of [Usage](#usage)"
    assert reference_http._bounds({"anyOf": [{"minimum": 0.0, "maximum": 2147483647.0}]}) == "at least 0"


def test_public_names() -> None:
    page = reference_python.page()
    assert set(re.findall(r"^::: \S+\.(\w+)$", page, re.M)) == set(inkhorn._HOME)
    assert set(reference_python.NAMES) <= set(inkhorn._HOME)


def test_settings() -> None:
    page = reference_configuration.page()
    for cls in reference_configuration.CLASSES:
        shown = section(page, cls.__name__)
        assert re.findall(r"^\| <code>(\w+)</code>", shown, re.M) == list(field_specs(cls))


def test_environment_variables() -> None:
    """The reference lists the variables that the package and the kernel read, and no others."""
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "native").glob("*.?pp")]
    found = {name for file in files for name in re.findall(r"\bINKHORN_[A-Z_]+\b", file.read_text("utf-8"))}
    assert set(reference_configuration.ENVIRONMENT) == found


def test_metrics() -> None:
    """The reference has every family that a scrape of a server shows."""
    registry = ModelRegistry(config=ServerConfig(models_memory=1024))
    scraped = re.findall(r"^# HELP (\S+)", Metrics(registry).render().decode(), re.M)
    names = {re.sub("_(total|created)$", "", name) for name in scraped if not name.startswith(("process_", "python_"))}
    assert set(re.findall(r"^\| <code>([\w:]+)</code>", reference_metrics.page(), re.M)) == names
    assert "inkhorn:kv_cache_usage_perc" in names


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("docs/index.md", "[a](serving.md#limits)", "[a](serving.md#limits)"),
        ("docs/code-tour.md", "[a](../src/inkhorn/model.py)", "[a](source/src/inkhorn/model.py.md)"),
        (
            "docs/development/architecture.md",
            "[a](../../src/inkhorn/model.py)",
            "[a](../source/src/inkhorn/model.py.md)",
        ),
        ("CONTRIBUTING.md", "[a](docs/log.md)", "[a](../log.md)"),
        ("docs/index.md", "[a](../CHANGELOG.md)", "[a](changelog.md)"),
        ("docs/index.md", "[a](https://example.org/x.md)", "[a](https://example.org/x.md)"),
        ("docs/index.md", "[a](#heading)", "[a](#heading)"),
        ("examples/README.md", "![a](../docs/images/look-inside.png)", "![a](images/look-inside.png)"),
        ("docs/index.md", "```\n[a](../none.py)\n```", "```\n[a](../none.py)\n```"),
    ],
)
def test_links(page: str, link: str, expected: str) -> None:
    assert links.rewrite(link, page) == expected


def test_link_without_target() -> None:
    with pytest.raises(FileNotFoundError, match=r"docs/index.md links to none.md"):
        links.rewrite("[a](none.md)", "docs/index.md")


def test_navigation_has_every_page() -> None:
    """A page of docs/ that the navigation of mkdocs.yml lacks cannot be found by a reader."""
    with (ROOT / "mkdocs.yml").open(encoding="utf-8") as file:
        nav = yaml.safe_load(file)["nav"]

    def pages(entry: Any) -> set[str]:
        if isinstance(entry, str):
            return {entry}
        return set().union(*map(pages, entry.values() if isinstance(entry, dict) else entry))

    docs = {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")}
    generated = pages(nav) - docs
    assert docs <= pages(nav), f"add to nav in mkdocs.yml: {docs - pages(nav)}"
    assert generated == {
        *links.PAGES.values(),
        *(f"reference/{n}.md" for n in ("cli", "python", "http", "configuration", "metrics")),
    }


def test_readme_links_playground() -> None:
    """The third line links it: at the public address, or, while there is none, the page that says how to open it."""
    line = (ROOT / "README.md").read_text("utf-8").splitlines()[2]
    urls = links.project_urls()
    target = f"{urls['Documentation'].rstrip('/')}/latest/play/" if "Documentation" in urls else "docs/playground.md"
    assert f"]({target})" in line
