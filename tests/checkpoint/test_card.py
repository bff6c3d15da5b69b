"""What a model card says of a model's texts."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from inkhorn.checkpoint.card import CardFacts, Opening, card_header, read_card
from inkhorn.checkpoint.resolve import resolve_checkpoint

LINES = st.text(min_size=1, max_size=40).map(lambda text: " ".join(text.split())).filter(bool)
PRINTABLE = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))
OPENINGS = st.builds(Opening, st.text(PRINTABLE, min_size=1, max_size=40).filter(str.strip), LINES)


@given(LINES, LINES, st.sampled_from(["play", "plain"]), st.lists(OPENINGS, max_size=8))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, title: str, tagline: str, layout: str, openings: list[Opening]
) -> None:
    folder = tmp_path_factory.mktemp("card")
    facts = CardFacts(title, tagline, layout, tuple(openings))  # type: ignore[arg-type]
    header = card_header({"tags": ["inkhorn"]}, facts)
    (folder / "README.md").write_text(f"{header}\n# A model\n\n---\n", encoding="utf-8", newline="")
    assert read_card(folder) == facts
    assert yaml.safe_load(header.strip("-\n"))["tags"] == ["inkhorn"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# No header\n\n---\ninkhorn:\n  title: no\n---\n",
        "---\n[unclosed\n---\n",
        "---\n- a list\n---\n",
        "---\ninkhorn: text\nwidget: text\n---\n",
        "---\ninkhorn:\n  title: [1]\n  layout: sideways\nwidget:\n- text: 3\n- text: ' '\n- other\n---\n",
        "---\ntitle: !!python/object/apply:os.getcwd []\n---\n",
    ],
)
def test_other_cards_say_nothing(tmp_path: Path, text: str) -> None:
    assert read_card(tmp_path) == CardFacts()
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    assert read_card(tmp_path) == CardFacts()


def test_labels_and_bounds(tmp_path: Path) -> None:
    entries = "".join(f"- text: number {i} of the very long list of prompts\n" for i in range(20))
    (tmp_path / "README.md").write_text(f"---\nwidget:\n{entries}---\n", encoding="utf-8")
    openings = read_card(tmp_path).openings
    assert len(openings) == 8
    assert openings[0].label == "number 0 of the very …"


def test_shipped_card() -> None:
    facts = read_card(resolve_checkpoint("shakespeare"))
    assert facts.layout == "play"
    assert [one.prompt for one in facts.openings][:2] == ["ROMEO:", "KING HENRY V:\nOnce more"]
