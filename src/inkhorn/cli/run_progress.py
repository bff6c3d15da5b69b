"""What the user sees of a training run: a progress bar, evaluations with samples, the report, TensorBoard files."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from inkhorn.cli.progress import ProgressBar, progress
from inkhorn.errors import InkhornError
from inkhorn.training.callbacks import Callbacks
from inkhorn.training.report.build import write_report
from inkhorn.web.bundle import report_script

SAMPLE_LINES = 8
"""Lines of a sample that are shown; samples.jsonl has all."""


class RunProgress(Callbacks):
    """Training callbacks for the command line."""

    def __init__(self, bar: ProgressBar, steps: int, out: Path, tensorboard: Any = None) -> None:
        self.bar, self.steps, self.out, self.tensorboard = bar, steps, out, tensorboard
        self.validation = ""

    def log(self, text: str) -> None:
        self.bar.log(text)

    def on_step(self, metrics: dict[str, Any]) -> None:
        loss, speed, mfu = (metrics[f"train/{name}"] for name in ("loss", "tokens_per_sec", "mfu"))
        self.bar.update(metrics["step"], f"loss {loss:.3f}{self.validation}, {speed:,.0f} tokens/s, MFU {mfu:.0%}")
        self._write_scalars(metrics)

    def on_evaluate(self, metrics: dict[str, Any], sample: str) -> None:
        """Print the validation loss and the sample, and update the report."""
        loss, bits = metrics["val/loss"], metrics["val/bpb"]
        self.validation = f", val {loss:.3f}"
        best = " (best)" if loss == metrics["val/best"] else ""
        self.log(
            f"step {metrics['step']:,} of {self.steps:,}: validation loss {loss:.4f}, {bits:.3f} bits per byte{best}"
        )
        if sample:
            self.log("\n".join("  | " + line for line in sample.splitlines()[:SAMPLE_LINES]))
        self._write_scalars(metrics)
        self.update_report()

    def update_report(self) -> bool:
        """Write the report; False, with a message, if that fails, which must not end the run."""
        try:
            write_report(self.out, report_script())
        except (InkhornError, OSError) as error:
            self.log(f"The report was not updated: {error}")
            return False
        return True

    def _write_scalars(self, metrics: dict[str, Any]) -> None:
        if self.tensorboard is not None:
            for name, value in metrics.items():
                if "/" in name:
                    self.tensorboard.add_scalar(name, value, metrics["step"])


@contextmanager
def run_progress(steps: int, out: Path) -> Iterator[RunProgress]:
    """Callbacks that show a run of so many steps, in the folder `out`."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        writer: Any = nullcontext()
    else:
        writer = SummaryWriter(str(out / "tensorboard"))
    with writer as tensorboard, progress("training", steps, "steps") as bar:
        yield RunProgress(bar, steps, out, tensorboard)
