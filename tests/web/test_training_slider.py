"""The slider over the snapshots of a run in headless Chromium: in the report, on the live page of a training and on the
page, with the server and without.
"""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from helpers import distributed_worker
from helpers.page import Open, Serve
from helpers.server_process import run_server
from helpers.training import BASE, trainer
from helpers.web import static_server

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.inference.snapshots import list_snapshots, read_view
from inkhorn.training.report.build import write_report
from inkhorn.training.report.run_log import read_run
from inkhorn.utils.files import write_json
from inkhorn.web.bundle import report_script
from inkhorn.web.export import write_site
from inkhorn.web.watch import WatchServer

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


def check_page(page: "Page", run: Path, characters: int = 1000) -> None:
    """The view of the page writes what the report shows, at least so many characters of it."""
    page.get_by_role("link", name="Training").click()
    slider = page.get_by_label("Training:")
    slider.focus()
    for snapshot in reversed(list_snapshots(run)):
        view = read_view(snapshot)
        page.locator(".training .lens-table").wait_for()
        text = (view["prompt"] + view["text"])[: len(view["prompt"]) + characters]
        page.wait_for_function(
            "text => document.querySelector('.snapshot-text').textContent.startsWith(text)", arg=text
        )
        assert (
            slider.get_attribute("aria-valuetext") == f"step {snapshot.step} of 6, validation loss {snapshot.loss:.2f}"
        )
        slider.press("ArrowLeft")
    page.get_by_label("Prompt", exact=True).last.fill("to be")
    page.get_by_label("Prompt", exact=True).last.blur()
    page.locator(".snapshot-text .prompt", has_text="to be").wait_for()
    page.locator(".training .tokens [data-t='4']").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_page_of_the_server(open_page: Open, run: Path, serve: Serve) -> None:
    process = serve(run_server("--model", str(run), "--quantize", "int8"))
    check_page(open_page(url=process.url), run)


def test_static_page(open_page: Open, run: Path, tmp_path: Path, serve: Serve) -> None:
    """Snapshots are fetched when they are shown. The last bits of their logits depend on the instruction set."""
    write_site(resolve_checkpoint(run), "tiny", tmp_path / "site")
    assert not (tmp_path / "site" / "watch").exists()
    sizes = {path.stat().st_size for path in (tmp_path / "site" / "model" / "snapshots").iterdir()}
    assert len(sizes) == 1
    url = serve(static_server(tmp_path / "site"))
    check_page(open_page(url=url, viewport={"width": 375, "height": 800}, color_scheme="dark"), run, 20)


def test_model_without_snapshots_has_no_link(open_page: Open) -> None:
    page = open_page()
    assert not page.get_by_role("link", name="Training").is_visible()


@pytest.mark.parametrize(("width", "scheme"), [pytest.param(1280, "dark", marks=pytest.mark.slow), (375, "light")])
def test_live_page(open_page: Open, run: Path, tmp_path: Path, width: int, scheme: str) -> None:
    """It follows the files of a run that goes on, and keeps its state when the process has ended."""
    out = tmp_path / "run"
    out.mkdir()
    server = WatchServer(out, 0)
    viewport = {"width": width, "height": 800}
    page = open_page(url=server.url, wait=False, requests_fail=True, viewport=viewport, color_scheme=scheme)
    page.locator("#state", has_text="Preparing").wait_for()
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    write_json(out / "run.json", {"corpus": "words", "train": {"steps": 6}})
    (out / "metrics.jsonl").write_text("".join(lines[:3]) + '{"step": 3, "tr')
    page.locator("#numbers", has_text="step of 6").wait_for()
    page.locator("#state", has_text="Training …").wait_for()
    assert page.locator("#title").text_content() == "words"
    assert page.locator("#slider").is_hidden()
    first, *others = list_snapshots(run)
    shutil.copytree(first.folder, out / "snapshots" / first.folder.name)
    page.get_by_label("Training:").wait_for()
    (out / "metrics.jsonl").write_text("".join(lines))
    for name in ("samples.jsonl", "report.html"):
        shutil.copyfile(run / name, out / name)
    for snapshot in others:
        shutil.copytree(snapshot.folder, out / "snapshots" / snapshot.folder.name)
    page.locator("#state", has_text="All steps are done.").wait_for()
    page.locator(".position output", has_text="step 6 of 6").wait_for()
    last = read_run(run).training[-1]
    numbers = page.locator("#numbers").inner_text()
    assert f"{last['train/loss']:.3f}" in numbers
    assert "tokens per second" in numbers
    assert page.locator(".sample-text").first.text_content() == read_run(run).samples[-1]["text"]
    assert page.locator("#charts svg").count() == 3
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    server.close()
    page.locator("#state", has_text="has ended").wait_for()
    slider = page.get_by_label("Training:")
    slider.press("Home")
    view = read_view(first)
    page.wait_for_function(
        "text => document.querySelector('.snapshot-text').textContent === text", arg=view["prompt"] + view["text"]
    )
