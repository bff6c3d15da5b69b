"""What the user sees of a run: a bar on a terminal, plain lines elsewhere, and TensorBoard's files if it is there."""

import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from inkhorn.errors import InkhornError
from inkhorn.training.report.build import write_report


class RunProgress:
    """The callbacks of a run on the command line.

    Args:
        steps: of the whole run.
        out: the run's folder, for the report.

    """

    def __init__(self, steps: int, out: Path) -> None:
        self.out = out
        self.console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("step {task.completed:,.0f}/{task.total:,.0f}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[status]}"),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("", total=steps, status="")
        self.validation = ""
        self.tensorboard = _tensorboard(out)
        self._last_line = time.monotonic()

    def __enter__(self) -> "RunProgress":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()
        if self.tensorboard is not None:
            self.tensorboard.close()

    def say(self, text: str) -> None:
        """Show a line above the bar."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def step(self, metrics: dict[str, Any]) -> None:
        """Show a training line of metrics.jsonl."""
        status = (
            f"loss {metrics['train/loss']:.3f}{self.validation}  {metrics['train/tokens_per_sec']:,.0f} tok/s  "
            f"MFU {metrics['train/mfu']:.0%}"
        )
        self.bar.update(self.task, completed=metrics["step"], status=status)
        if not self.console.is_terminal and time.monotonic() - self._last_line > 15:
            self._last_line = time.monotonic()
            self.say(f"step {metrics['step']:,}  {status}")
        self._log(metrics)

    def evaluated(self, metrics: dict[str, Any], sample: str) -> None:
        """Show an evaluation and what the model wrote, and bring the report up to date."""
        best = " (best)" if metrics["val/loss"] == metrics["val/best"] else ""
        self.validation = f"  val {metrics['val/loss']:.3f}"
        loss, bits = metrics["val/loss"], metrics["val/bpb"]
        self.say(f"step {metrics['step']:,}: validation loss {loss:.4f}, {bits:.3f} bits a byte{best}")
        if sample:
            self.say("\n".join("  | " + line for line in sample.splitlines()[:8]))
        self._log(metrics)
        try:
            write_report(self.out)
        except (InkhornError, OSError) as error:  # a report is not worth a run
            self.say(f"no report this time: {error}")

    def _log(self, metrics: dict[str, Any]) -> None:
        if self.tensorboard is not None:
            for name, value in metrics.items():
                if "/" in name:
                    self.tensorboard.add_scalar(name, value, metrics["step"])


def _tensorboard(out: Path) -> Any:
    """A writer of TensorBoard's files, or None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(out / "tensorboard"))
