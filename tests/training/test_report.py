"""The report of a run: complete files, correct numbers, and text of a run is always escaped."""

import json
import math
import re
import struct
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inkhorn.errors import InkhornError
from inkhorn.training.report import build
from inkhorn.training.report.build import write_report
from inkhorn.training.report.chart import downsample, loss_chart, to_svg
from inkhorn.training.report.diagnose import diagnose
from inkhorn.training.report.formatting import format_count, format_duration
from inkhorn.training.report.run_log import RunLog, read_run, smooth
from inkhorn.training.report.samples import representative_samples

VOID = {"meta", "br", "hr", "img", "input", "link"}
INFO: dict[str, Any] = {
    "name": "mine",
    "corpus": "tiny-shakespeare",
    "model": {"vocab_size": 66, "n_layer": 2, "n_inner": None, "tie_word_embeddings": True},
    "num_parameters": 9_977_600,
    "train": {"steps": 400, "lr": 0.006, "dropout": 0.0},
    "hardware": ["device cpu (2 threads): the fastest that torch finds"],
    "versions": {"python": "3.12.4", "torch": "2.13.0", "numpy": "2.3.1", "inkhorn": "0.1.0"},
    "machine": "Linux x86_64, 2 threads",
    "train_tokens": 40_000,
    "val_tokens": 4_000,
    "peak_flops": 1.27e12,
}


class Page(HTMLParser):
    """Checks that tags balance, and keeps what the tests ask for."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.samples: list[str] = []
        self.feed(markup)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag == "pre":
            self.samples.append("")
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if "pre" in self.stack:
            self.samples[-1] += data

    def all(self, tag: str, css_class: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.seen if name == tag and attrs.get("class") == css_class]


def training(step: int, loss: float | None) -> dict[str, Any]:
    line = {"step": step, "tokens": step * 256, "seconds": step / 2, "train/loss": loss, "train/lr": 0.006}
    return line | {"train/grad_norm": 0.4, "train/tokens_per_sec": 512.0, "train/mfu": 0.41}


def evaluation(step: int, loss: float | None) -> dict[str, Any]:
    bits = loss / math.log(2) if loss is not None else None
    return {"step": step, "tokens": step * 256, "seconds": step / 2, "val/loss": loss, "val/bpb": bits}


def overfitted() -> list[dict[str, Any]]:
    """Validation falls to 1.5 at step 200 and rises to 1.75 at 400; training falls in a straight line."""
    lines: list[dict[str, Any]] = []
    losses = {100: 1.8, 200: 1.5, 300: 1.6, 400: 1.75}
    for step in range(10, 401, 10):
        lines.append(training(step, 2.0 - step / 400))
        lines += [evaluation(step, losses[step])] if step in losses else []
    return lines


def folder(path: Path, metrics: list[dict[str, Any]], samples: list[dict[str, Any]] | None = None, **info: Any) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "run.json").write_text(json.dumps(INFO | info))
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))
    if samples is not None:
        lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in samples)
        (path / "samples.jsonl").write_text(lines, encoding="utf-8")
    return path


def written(out: Path) -> tuple[str, Page]:
    write_report(out)
    assert_complete_png(out / "loss.png")
    assert not list(out.glob("*.tmp"))
    markup = (out / "report.html").read_text(encoding="utf-8")
    assert markup.rstrip().endswith("</html>")
    return markup, Page(markup)


def assert_complete_png(path: Path) -> None:
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data.endswith(b"IEND\xaeB`\x82")
    assert struct.unpack(">II", data[16:24]) == (1600, 900)


def test_summary_numbers(tmp_path: Path) -> None:
    _, page = written(folder(tmp_path, overfitted()))
    words = " ".join(page.words)
    names, values = page.words[page.words.index("best validation loss, nats per token") :][:16:2], []
    for name in names:
        values.append(page.words[page.words.index(name) + 1])
    assert values == ["1.500", "2.164", "400", "3 min", "102k", "512", "41 %", "9.98M"]
    assert names[1:5] == ["bits per character", "steps", "training time", "tokens, 2.6 epochs"]
    assert "A model of 9,977,600 parameters, trained on tiny-shakespeare with the recipe mine" in words
    assert "tiny-shakespeare · Inkhorn" in words
    for said in (
        "2.13.0",
        "Linux x86_64, 2 threads",
        "1,270 GFLOP/s",
        "the fastest that torch finds",
        "n_layer",
        "0.006",
    ):
        assert said in words


def test_best_evaluation_is_marked(tmp_path: Path) -> None:
    markup, page = written(folder(tmp_path, overfitted()))
    assert markup.count('class="best"') == 2  # one chart for wide screens, one for phones
    assert page.words.count("best validation 1.500") == page.words.count("at step 200") == 2
    assert loss_chart(read_run(tmp_path)).best == (200, 1.5)


def test_report_is_deterministic(tmp_path: Path) -> None:
    out = folder(tmp_path, overfitted())
    first, image = written(out)[0], (out / "loss.png").read_bytes()
    assert written(out)[0] == first
    assert (out / "loss.png").read_bytes() == image
    ids = re.findall(r'id="([^"]+)"', to_svg(loss_chart(read_run(out)), 684, 400))
    assert len(ids) == len(set(ids))


def test_svg_colors_follow_theme(tmp_path: Path) -> None:
    markup, _ = written(folder(tmp_path, overfitted()))
    charts = "".join(re.findall(r"<svg.*?</svg>", markup, re.DOTALL))
    assert {"var(--blue)", "var(--accent)", "var(--muted)"} <= set(re.findall(r"var\(--\w+\)", charts))
    assert not re.search(r"#[0-9a-f]{6};", charts)


def test_bits_per_token_for_a_large_vocabulary(tmp_path: Path) -> None:
    _, page = written(folder(tmp_path, overfitted(), model={"vocab_size": 50257}))
    assert "bits per token" in page.words


def test_page_is_self_contained(tmp_path: Path) -> None:
    markup, page = written(folder(tmp_path, overfitted(), [{"step": 100, "val/loss": 1.8, "text": "A rose"}]))
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", markup)
    names = {tag for tag, _ in page.seen}
    assert not names & {"script", "link", "img", "iframe", "object", "image", "base"}
    assert not [attrs for _, attrs in page.seen if {"href", "src", "srcset"} & set(attrs)]
    assert all(str(attrs.get("xlink:href", "#")).startswith("#") for _, attrs in page.seen)
    policy = next(attrs["content"] for _, attrs in page.seen if attrs.get("http-equiv"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    assert "prefers-color-scheme: dark" in markup
    assert "@media print" in markup


def test_text_is_escaped(tmp_path: Path) -> None:
    nasty = "<script>alert('x')</script></pre>\n\n  \"quoted\" & é \N{PILE OF POO}\0\x1b"
    lines = [*overfitted(), {"step": 400, "event": "<b>loss</b> & more"}]
    samples = [{"step": 100, "val/loss": 1.8, "text": nasty}]
    out = folder(
        tmp_path, lines, samples, name="</title><script>", corpus='"><i>', machine="<hr>", versions={"<u>": "<s>"}
    )
    markup, page = written(out)
    assert not {"script", "b:loss", "hr", "u", "s"} & {tag for tag, _ in page.seen}
    assert "<script" not in markup
    assert page.samples[0] == "\n" + nasty.replace("\0", "\ufffd").replace("\x1b", "\ufffd")
    assert "<b>loss</b> & more" in " ".join(page.words)
    assert "</title><script>" in " ".join(page.words)


def test_lone_surrogates_are_replaced(tmp_path: Path) -> None:
    out = folder(tmp_path, overfitted(), name="half \ud83d pair")
    (out / "samples.jsonl").write_text('{"step": 100, "text": "a \\ud83d b"}\n')
    _, page = written(out)
    assert page.samples[0] == "\na \ufffd b"


def test_samples_are_in_order(tmp_path: Path) -> None:
    samples = [{"step": step, "val/loss": 2.0, "text": f"line {step}\n  next"} for step in range(100, 600, 100)]
    _, page = written(folder(tmp_path, overfitted(), samples))
    assert page.samples[:5] == [f"\nline {step}\n  next" for step in range(100, 600, 100)]


def test_truncated_last_lines_are_ignored(tmp_path: Path) -> None:
    out = folder(tmp_path, overfitted(), [{"step": 100, "val/loss": 1.8, "text": "whole"}])
    before = written(out)[0]
    with (out / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 410, "tokens": 1, "val/loss": 0.')
    with (out / "samples.jsonl").open("ab") as file:
        file.write('{"step": 200, "text": "hal\xe9'.encode()[:-1])
    assert written(out)[0] == before


@pytest.mark.parametrize("name", ["metrics.jsonl", "run.json", "samples.jsonl"])
def test_any_file_may_be_missing_or_empty(tmp_path: Path, name: str) -> None:
    out = folder(tmp_path / "mine", overfitted(), [{"step": 100, "val/loss": 1.8, "text": "whole"}])
    (out / name).write_bytes(b"")
    written(out)
    (out / name).unlink()
    _, page = written(out)
    assert ("mine" if name == "run.json" else "tiny-shakespeare") in page.words


def test_representative_samples() -> None:
    losses = [4.1, 3.25, 2.9, 2.45, 2.1, 1.98, 1.72, 1.69, 1.66, 1.62]
    lines = [{"step": i, "val/loss": loss, "text": ""} for i, loss in enumerate(losses)]
    assert [line["val/loss"] for line in representative_samples(lines)] == [3.25, 2.45, 1.98, 1.69, 1.62]
    assert representative_samples(lines[:1]) == lines[:1]
    assert representative_samples([{"step": 1, "text": "no loss"}, {"step": 2, "val/loss": math.nan, "text": ""}]) == []
    over = [{"step": i, "val/loss": loss, "text": ""} for i, loss in enumerate([2.0, 1.5, 1.7])]
    assert [line["val/loss"] for line in representative_samples(over)] == [2.0, 1.7], (
        "losses below the last are no part of its story"
    )


def test_representative_samples_are_open(tmp_path: Path) -> None:
    losses = [3.3, 2.5, 2.4, 1.2]
    samples = [{"step": i + 1, "val/loss": loss, "text": f"text {i}"} for i, loss in enumerate(losses)]
    _, page = written(folder(tmp_path, overfitted(), samples))
    assert ["open" in attrs for tag, attrs in page.seen if tag == "details"] == [True, True, False, True]
    assert "loss 2.500" in page.words


def test_run_without_metrics(tmp_path: Path) -> None:
    _, page = written(folder(tmp_path, []))
    words = " ".join(page.words)
    assert "No metrics yet." in words
    assert "No evaluation yet" in words
    assert "–" in page.words
    assert "Samples by loss" not in words
    assert "Events" not in words


def test_run_without_evaluation(tmp_path: Path) -> None:
    _, page = written(folder(tmp_path, [training(10, 4.0), training(20, 3.5)]))
    assert page.all("g", "best") == []
    assert "No evaluation yet" in " ".join(page.words)
    assert "steps of 400" in page.words


def test_single_point_has_a_marker(tmp_path: Path) -> None:
    _, page = written(folder(tmp_path, [training(1, 4.0), evaluation(1, 4.1)]))
    assert [line.has_markers for line in loss_chart(read_run(tmp_path)).lines] == [True, True, True]
    assert "One evaluation so far: at step 1 the validation loss is 4.100, 0.100 above" in " ".join(page.words)


def test_non_finite_values_are_ignored(tmp_path: Path) -> None:
    broken = [training(410, None), training(420, math.nan), training(430, math.inf), evaluation(440, None)]
    run = read_run(folder(tmp_path, overfitted() + broken))
    assert run.training[-1]["step"] == 400
    assert run.evaluations[-1]["step"] == 400
    _, page = written(tmp_path)
    assert "nan" not in " ".join(page.words)


def test_events(tmp_path: Path) -> None:
    event = {"step": 200, "event": "loss 9.3 at step 250: back to step 200, learning rates times 0.5"}
    _, page = written(folder(tmp_path, [*overfitted(), event]))
    assert "† step 200" in page.words
    assert f" {event['event']}" in page.words
    assert page.words.count("†") == 2  # one in each of the two charts


def test_later_line_of_a_step_wins(tmp_path: Path) -> None:
    run = read_run(folder(tmp_path, [training(10, 4.0), training(20, 9.0), training(10, 3.9), training(20, 3.0)]))
    assert [(line["step"], line["train/loss"]) for line in run.training] == [(10, 3.9), (20, 3.0)]


@pytest.mark.parametrize(("steps", "resumes"), [(400, False), (1000, True)])
def test_commands_use_relative_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, resumes: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    out = folder(Path("runs/my run"), overfitted(), name="small", train={"steps": steps})
    _, page = written(out)
    lines = page.samples[-1].splitlines()
    assert lines[0] == "inkhorn generate --model 'runs/my run' \"ROMEO:\""
    assert lines[1:] == (["inkhorn train small --out 'runs/my run' --resume"] if resumes else [])
    markup, _ = written(out.resolve())
    assert str(tmp_path) not in markup


def run_of(losses: dict[int, float], *, training_end: float | None = 1.0, dropout: float = 0.0) -> RunLog:
    """Validation losses by step; the training loss falls from 2 at step 0 in a straight line to step 400."""
    lines = []
    if training_end is not None:
        lines = [training(step, 2.0 + (training_end - 2.0) * step / 400) for step in range(0, 401, 10)]
    evaluations = [evaluation(step, loss) for step, loss in losses.items()]
    return RunLog({"train": {"dropout": dropout}}, lines, evaluations, [], [])


def test_diagnose_overfitting_numbers() -> None:
    said = diagnose(run_of({100: 1.8, 200: 1.55, 300: 1.6, 400: 1.75}))
    numbers = [float(number) for number in re.findall(r"\d+\.\d+", said)]
    assert said.startswith(
        "Overfitting since step 200: validation loss rose by 0.200 (from 1.550 to 1.750) while training loss fell"
    )
    assert numbers[3] == pytest.approx(0.5, abs=0.02)  # the last of the smoothed line lags by half a window
    assert numbers[4:6] == pytest.approx([1.5, 1.0], abs=0.02)
    assert numbers[6:] == pytest.approx([0.05, 0.75], abs=0.02)
    assert numbers[3] == pytest.approx(numbers[4] - numbers[5], abs=0.0011)


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (run_of({}), "No evaluation yet"),
        (run_of({400: 1.2}), "One evaluation so far: at step 400 the validation loss is 1.200, 0.181 above"),
        (
            run_of({200: 1.6, 400: 1.25}),
            "No overfitting up to step 400: the validation loss of 1.250 is the lowest so far, 0.350",
        ),
        (
            run_of({200: 1.25, 400: 1.252}),
            "Plateau since step 200: validation loss rose by only 0.002 (from 1.250 to 1.252) while training loss fell",
        ),
        (run_of({200: 1.2, 400: 1.4}, training_end=3.0), "Worse since step 200, but not overfitting"),
        (
            run_of({200: 1.2, 400: 1.4}, training_end=None),
            "Validation loss has risen by 0.200 (from 1.200 to 1.400) since step 200",
        ),
    ],
)
def test_diagnose(run: RunLog, said: str) -> None:
    assert diagnose(run).startswith(said)


def test_diagnose_mentions_dropout() -> None:
    assert "below the training loss" in diagnose(run_of({400: 0.5}))
    assert "dropout" not in diagnose(run_of({400: 0.5}))
    assert diagnose(run_of({400: 0.5}, dropout=0.2)).endswith("which is measured with dropout.")


def test_y_limits_cut_off_first_losses() -> None:
    lines = [training(step, 1.2 + 80 * math.exp(-step / 5)) for step in range(1, 1001)]
    chart = loss_chart(RunLog({}, lines, [evaluation(1000, 1.3)], [], []))
    assert chart.high < 2
    assert chart.low < 1.2
    gentle = loss_chart(RunLog({}, [training(step, 2 - step / 1000) for step in range(1, 1001)], [], [], []))
    assert gentle.high > 1.999  # a curve without outliers is shown completely


def test_long_run_is_downsampled(tmp_path: Path) -> None:
    lines = [training(step, 7.0 if step == 7770 else 1.5 + 0.1 * math.sin(step)) for step in range(10, 100_010, 10)]
    markup, _ = written(folder(tmp_path, lines))
    assert len(markup) < 120_000
    assert 7.0 in loss_chart(read_run(tmp_path)).lines[0].y


def test_failure_keeps_previous_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = folder(tmp_path / "run", overfitted())
    before = written(out)[0]

    def fail(*_: object) -> None:
        raise MemoryError("out of memory")

    monkeypatch.setattr(build, "save_png", fail)
    with pytest.raises(InkhornError, match="out of memory"):
        write_report(out)
    assert (out / "report.html").read_text(encoding="utf-8") == before
    assert not list(out.glob("*.tmp"))
    with pytest.raises(InkhornError):
        write_report(tmp_path / "nowhere")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = ["tokens", "seconds", "train/loss", "train/lr", "train/grad_norm", "train/mfu", "val/loss", "event", "text"]
LINES = st.builds(
    lambda step, rest: {"step": step, **rest},
    st.integers(0, 10**6),
    st.dictionaries(st.sampled_from(KEYS), JSON | st.floats(0, 10), max_size=9),
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    metrics=st.lists(LINES, max_size=6),
    samples=st.lists(LINES, max_size=3),
    info=st.dictionaries(st.sampled_from([*INFO]), JSON, max_size=6),
)
def test_any_records_give_a_report(
    tmp_path: Path, metrics: list[dict[str, Any]], samples: list[dict[str, Any]], info: dict[str, Any]
) -> None:
    out = folder(tmp_path, metrics)
    (out / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in samples))
    (out / "run.json").write_text(json.dumps(info))
    written(out)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400))
def test_smooth_stays_within_range(values: list[float]) -> None:
    result = smooth(np.array(values))
    assert len(result) == len(values)
    assert result.min() >= min(values) - 1e-3
    assert result.max() <= max(values) + 1e-3
    assert result[0] == pytest.approx(values[0], abs=1e-3)


def test_smooth_keeps_a_straight_line() -> None:
    line = np.linspace(3.0, 1.0, 200)
    np.testing.assert_allclose(smooth(line)[:190], line[:190], atol=1e-12)


def test_downsample_keeps_ends_and_extremes() -> None:
    x = np.arange(10_000.0)
    y = np.sin(x)
    y[1234], y[4321] = 9.0, -9.0
    thin_x, thin_y = downsample(x, y, 600)
    assert len(thin_x) <= 600
    assert (thin_x[0], thin_x[-1], thin_y.max(), thin_y.min()) == (0, 9999, 9.0, -9.0)
    assert (np.diff(thin_x) > 0).all()


def test_format_count_and_duration() -> None:
    assert [format_count(n) for n in (0, 9999, 10_000, 102_400, 999_999, 4_096_000, 9_977_600, 1.5576e9, 1.2e12)] == [
        *("0", "9,999", "10.0k", "102k", "1.00M", "4.10M", "9.98M", "1.56B", "1.20T")
    ]
    assert [format_duration(s) for s in (0, 59.4, 99, 100, 1860, 5940, 6300, 86_400, 200_000)] == [
        *("0 s", "59 s", "99 s", "2 min", "31 min", "99 min", "1 h 45 min", "24 h 0 min", "2 d 8 h")
    ]
