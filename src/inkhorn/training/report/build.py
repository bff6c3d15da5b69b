"""The report of a run: `loss.png` for a README and a stand-alone `report.html`, built from the run's records.

It is rebuilt at every evaluation: it is fast, accepts a run that has only started, and replaces its files atomically.
"""

import base64
import hashlib
import json
import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from inkhorn.checkpoint.resolve import display_name
from inkhorn.errors import InkhornError
from inkhorn.inference.snapshots import list_snapshots, read_view
from inkhorn.training.report.chart import Chart, downsample, loss_chart, metric_chart, save_png, to_svg
from inkhorn.training.report.diagnose import diagnose
from inkhorn.training.report.formatting import NO_VALUE, format_count, format_duration, format_loss, format_or_dash
from inkhorn.training.report.run_log import Record, RunLog, number, read_run, series, smooth
from inkhorn.training.report.samples import representative_samples
from inkhorn.utils.files import atomic_write

MAX_CHARACTER_VOCABULARY = 1000
"""In tokens. Tokens of a larger vocabulary are taken for more than characters, and bits are given per token."""

# HTML cannot hold control characters (but line feed and tab) and lone surrogates, which a model may well generate.
_UNPRINTABLE = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160), *range(0xD800, 0xE000)), "\ufffd")


def write_report(out: Path, slider: str = "") -> None:
    """Write `loss.png` and `report.html` into the run's folder from its metrics.jsonl, run.json and samples.jsonl.

    Records that are missing or incomplete are left out.

    Args:
        out: the run's folder.
        slider: the script of a slider over the run's snapshots, which becomes part of the page; empty for none.

    Raises:
        InkhornError: the report cannot be written. No other exception is raised.
    """
    try:
        run = read_run(out)
        chart = loss_chart(run)
        with atomic_write(out / "loss.png") as temporary:
            save_png(chart, temporary)
        # The commands repeat a relative path as the user typed it; an absolute one would reveal too much.
        folder = out.resolve().name if out.is_absolute() or not out.name else out.as_posix()
        text = render(run, chart, folder, slider, slider_data(out, run) if slider else None)
        with atomic_write(out / "report.html") as temporary:
            temporary.write_bytes(text.encode("utf-8", "replace"))
    except Exception as error:  # a report that fails must not end hours of training
        raise InkhornError(f"cannot write the report in {out}: {type(error).__name__}: {error}") from error


def slider_data(out: Path, run: RunLog) -> Record | None:
    """What the slider shows, as static/watch/report.js reads it; None for a run without snapshots."""
    snapshots = list_snapshots(out)
    x, y = series(run.training, "train/loss")
    training = downsample(x, smooth(y), 300) if len(x) else (x, y)
    if not snapshots:
        return None
    return {
        "snapshots": [{"step": each.step, "loss": each.loss} for each in snapshots],
        "training": np.round(np.stack(training, 1), 4).tolist(),
        "views": {str(each.step): read_view(each) for each in snapshots},
    }


def render(run: RunLog, chart: Chart, folder: str, script: str = "", slider: Record | None = None) -> str:
    """The HTML page.

    Args:
        folder: the run's name in the commands at its end.
        script: that of the slider.
        slider: the data of the slider; None for none.
    """
    files = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=files, autoescape=True, finalize=_printable, trim_blocks=True, lstrip_blocks=True)
    environment.filters["loss"] = lambda record: format_or_dash(number(record, "val/loss"), format_loss)
    # A chart for wide screens and one for phones: scaled down, the text of the first could not be read.
    sizes = ((684, 400), (350, 320)) if chart.lines else ()
    metrics = (metric_chart(run, "train/lr", "Learning rate"), metric_chart(run, "train/grad_norm", "Gradient norm"))
    corpus, parameters = str(run.info.get("corpus", "")), number(run.info, "num_parameters")
    return environment.get_template("template.html").render(
        title=corpus or folder,
        recipe=run.info.get("name"),
        num_parameters=f"{parameters:,.0f}" if parameters > 0 else "",
        corpus=corpus,
        summary=summary(run),
        loss_charts=[Markup(to_svg(chart, *size)) for size in sizes],
        caption=_caption(chart),
        diagnosis=diagnose(run),
        samples=run.samples,
        open_samples=representative_samples(run.samples),
        metric_charts=[Markup(to_svg(small, 340, 190)) for small in metrics if small],
        events=run.events,
        data=_data(run),
        model=run.table("model"),
        train=run.table("train"),
        environment=_environment(run),
        commands=_commands(run, folder),
        slider=_embed(slider),
        script=Markup(script) if slider else "",
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _embed(data: Any) -> Markup:
    """JSON that a script element can hold; empty for None."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return Markup(text if data is not None else "")


def _printable(value: object) -> object:
    """A value as the page shows it; called by Jinja for each expression, before escaping."""
    if value is None or isinstance(value, bool):
        return NO_VALUE if value is None else "yes" if value else "no"
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return (value if isinstance(value, Markup) else str(value)).translate(_UNPRINTABLE)


def summary(run: RunLog) -> list[tuple[str, str]]:
    """The key numbers of the run: (value, label)."""
    loss = min((number(line, "val/loss") for line in run.evaluations), default=math.nan)
    seen, text = number(run.last, "tokens"), number(run.info, "train_tokens")
    epochs = f", {seen / text:.2g} epochs" if seen > 0 and text > 0 else ""
    step, planned = run.last["step"], number(run.table("train"), "steps")
    token = "token" if number(run.table("model"), "vocab_size") > MAX_CHARACTER_VOCABULARY else "character"
    logged = (series(run.training, key)[1] for key in ("train/tokens_per_sec", "train/mfu"))
    speed, mfu = (float(np.median(values)) if len(values) else math.nan for values in logged)
    return [
        (format_or_dash(loss, format_loss), "best validation loss, nats per token"),
        (format_or_dash(loss / math.log(2), format_loss), f"bits per {token}"),
        (f"{step:,}", f"steps of {planned:,.0f}" if planned > step else "steps"),
        (format_or_dash(number(run.last, "seconds"), format_duration), "training time"),
        (format_or_dash(seen, format_count), f"tokens{epochs}"),
        (format_or_dash(speed, "{:,.0f}".format), "tokens per second"),
        (format_or_dash(100 * mfu, "{:.0f} %".format), "MFU (model FLOPs utilization)"),
        (format_or_dash(number(run.info, "num_parameters"), format_count), "parameters"),
    ]


def _caption(chart: Chart) -> str:
    text = "Thin line: training loss as logged; thick line: its running mean. "
    text += "Dots: loss over the full validation split."
    if chart.lines and chart.lines[0].y[0] > chart.high:
        text += f" The first training loss, {chart.lines[0].y[0]:.2f}, is above the frame."
    return text + (" †: an event, listed below." if chart.event_marks else "")


def _data(run: RunLog) -> Record:
    sizes = {key: format_or_dash(number(run.info, key), "{:,.0f}".format) for key in ("train_tokens", "val_tokens")}
    rows = {"corpus": str(run.info.get("corpus", "")) or None} | sizes
    model = str(run.info.get("init_from") or "")
    return rows | ({"initial weights": display_name(model)} if model else {})


def _environment(run: RunLog) -> Record:
    """The machine, versions and hardware choices; a reason in run.json reads "choice: why"."""
    rows = {"machine": run.info.get("machine")} | run.table("versions")
    if (peak := number(run.info, "peak_flops")) > 0:
        rows["peak matrix product"] = f"{peak / 1e9:,.0f} GFLOP/s"
    reasons = run.info.get("hardware")
    return rows | dict(str(reason).partition(": ")[::2] for reason in (reasons if isinstance(reasons, list) else []))


def _commands(run: RunLog, folder: str) -> list[str]:
    name, quoted = shlex.quote(str(run.info.get("name", folder))), shlex.quote(folder)
    prompt = "ROMEO:" if "shakespeare" in str(run.info.get("corpus", "")) else "The"
    commands = [f'inkhorn generate --model {quoted} "{prompt}"']
    if number(run.table("train"), "steps") > run.last["step"]:
        commands.append(f"inkhorn train {name} --out {quoted} --resume")
    return commands
