"""The slider over the snapshots of a run: in the report, a single file, in headless Chromium."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from helpers import distributed_worker
from helpers.training import BASE, trainer

from inkhorn.inference.snapshots import list_snapshots, read_view
from inkhorn.training.report.build import write_report
from inkhorn.utils.files import write_json
from inkhorn.web.bundle import report_script

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

TRAIN = replace(BASE, steps=6, eval_every=3, save_every=3, sample_tokens=5, eval_at_loss=(), snapshots=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a tiny model with snapshots, and its report."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    trainer(distributed_worker.make_dataset(tmp_path_factory.mktemp("cache")), folder, TRAIN).run(resume=False)
    write_json(folder / "run.json", {"name": "mine", "train": {"steps": 6}})
    write_report(folder, report_script())
    return folder


@pytest.fixture(params=[(1280, "light"), (375, "dark")], ids=["wide", "phone"])
def report(browser: "Browser", run: Path, request: pytest.FixtureRequest) -> Iterator["Page"]:
    """The report, opened as a file; fails the test at an error in the console or a request for anything else."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page, problems = context.new_page(), list[str]()
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: problems.extend([request.url] * (not request.url.endswith("report.html"))))
    page.goto((run / "report.html").as_uri())
    page.locator(".lens-table").wait_for()
    yield page
    context.close()
    assert problems == []


def test_everything_moves_together(report: "Page", run: Path) -> None:
    snapshots = list_snapshots(run)
    slider = report.get_by_label("Training:")
    assert slider.get_attribute("aria-valuetext") == f"step 6 of 6, validation loss {snapshots[-1].loss:.2f}"
    maps = set()
    slider.focus()
    for snapshot in reversed(snapshots):
        view = read_view(snapshot)
        value = f"step {snapshot.step} of 6, validation loss {snapshot.loss:.2f}"
        assert slider.get_attribute("aria-valuetext") == value
        report.locator(".position output", has_text=value).wait_for()
        assert report.locator(".snapshot-text").text_content() == view["prompt"] + view["text"]
        assert (
            report.locator(".chart svg")
            .get_attribute("aria-label")
            .endswith(  # type: ignore[union-attr]
                f"Marked: step {snapshot.step}, {snapshot.loss:.2f}."
            )
        )
        lens = view["explain"]["lens"]["tokens"]
        shown = report.locator(".lens-table tbody b").all_text_contents()
        assert shown == [row[-2].replace("\n", "↵").replace(" ", "␣") for row in lens]
        maps.add(report.evaluate("document.querySelector('.map-view canvas').toDataURL()"))
        slider.press("ArrowLeft")
    assert len(maps) == len(snapshots)
    assert report.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_layer_head_and_token(report: "Page") -> None:
    def shown() -> str:
        return str(report.evaluate("document.querySelector('.map-view canvas').toDataURL()"))

    first = shown()
    report.get_by_role("group", name="Head").get_by_label("2").check()
    second = shown()
    report.get_by_role("group", name="Layer").get_by_label("2").check()
    report.wait_for_function(
        "previous => document.querySelector('.map-view canvas').toDataURL() !== previous", arg=second
    )
    assert len({first, second, shown()}) == 3
    report.locator(".tokens [data-t='3']").click()
    token = report.locator(".tokens [data-t='3']").text_content()
    assert token is not None
    heading = report.locator(".lens-table thead b").text_content()
    assert heading == token.replace(" ", "␣").replace("\n", "↵")
    report.get_by_label("Training:").press("Home")
    report.locator(".position output", has_text="step 0 of 6").wait_for()
    assert report.locator(".lens-table thead b").text_content() == heading
    assert report.locator(".tokens .from").get_attribute("data-t") == "3"


def test_play(report: "Page") -> None:
    report.get_by_role("button", name="Play").click()
    report.locator(".position output", has_text="step 0 of 6").wait_for()
    report.locator(".position output", has_text="step 6 of 6").wait_for()
    report.get_by_role("button", name="Play").wait_for()
