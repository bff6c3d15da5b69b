"""The tables of `inkhorn estimate`."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from inkhorn.costs.scaling_laws import FITTED, TOKENS_PER_PARAMETER
from inkhorn.training.report.formatting import format_count


def recipes(rows: Sequence[Mapping[str, Any]]) -> None:
    table = _table("recipe", "parameters", "shape", "block", "vocab", "tokens", "FLOPs")
    for row in rows:
        shape = row["architecture"]
        table.add_row(
            row["recipe"],
            f"{row['parameters']:,}",
            f"{shape['n_layer']} x {shape['n_embd']}",
            f"{shape['block_size']:,}",
            f"{row['vocab_size']:,}",
            format_count(row["tokens"]),
            f"{row['flops']:.1e}",
        )
    console = _console()
    console.print(table)
    console.print("\nShape: blocks x width. Tokens and FLOPs: of the complete training run.")
    console.print("Details: inkhorn estimate RECIPE, or a checkpoint's folder")


def estimate(facts: Mapping[str, Any]) -> None:
    console, config = _console(), facts["config"]
    console.print(facts["model"] + (f": {facts['about']}" if facts["about"] else ""))
    console.print(
        f"{config['n_layer']} blocks of {config['n_head']} heads, width {config['n_embd']:,}; "
        f"context {config['block_size']:,}, vocabulary {config['vocab_size']:,}"
    )
    for table in (_parts(facts), _training(facts), _serving(facts)):
        console.print("", table, sep="\n")
    console.print("", *_time(facts), "", *_plan(facts), sep="\n")
    console.print(_best(facts))
    console.print(
        "The laws were fitted to subword models trained on web text for one epoch,\n"
        f"{format_count(FITTED[0])} to {format_count(FITTED[1])} parameters. They say how to divide a compute budget,\n"
        "not which loss your model will reach."
    )


def _console() -> Console:
    return Console(highlight=False, markup=False, soft_wrap=True)


def _table(first: str, *numbers: str) -> Table:
    """A table whose first column is text and the others numbers."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _parts(facts: Mapping[str, Any]) -> Table:
    table = _table("part", "parameters", "", "FLOPs per token", "")
    every, flops = facts["parameters"], facts["forward_flops_per_token"]
    for part in facts["parts"]:
        table.add_row(part["name"], *_share(part["parameters"], every), *_share(part["flops"], flops))
    table.add_row("total, forward", f"{every:,}", "", f"{flops:,}", "")
    table.add_row("forward and backward", "", "", f"{facts['training_flops_per_token']:,}", "")
    return table


def _share(value: int, total: int) -> tuple[str, str]:
    return (f"{value:,}", f"{value / total:.1%}") if value else ("", "")


def _training(facts: Mapping[str, Any]) -> Table:
    training = facts["training"]
    table = _table(
        "training memory", f"{training['rows']} x {facts['config']['block_size']:,} tokens in {training['dtype']}"
    )
    for what, size in training["bytes"].items():
        table.add_row(what, memory(size))
    table.add_row("total", memory(training["all"]))
    if training["free"] is not None:
        table.add_row("available here", memory(training["free"]))
    return table


def _serving(facts: Mapping[str, Any]) -> Table:
    serving = facts["serving"]
    table = _table("serving memory", *serving["bytes"])
    for what in ("weights", "caches"):
        name = f"KV cache, {serving['max_num_seqs']} full sequences" if what == "caches" else what
        table.add_row(name, *(memory(sizes[what]) for sizes in serving["bytes"].values()))
    return table


def _time(facts: Mapping[str, Any]) -> list[str]:
    tokens = f"{format_count(facts['tokens'])} tokens ({facts['tokens_from']})"
    lines = [f"Training on {tokens} takes {facts['flops']:.3g} FLOPs."]
    time = facts["time"]
    if time is None:
        return [*lines, "For the training time, install inkhorn[train] to measure this machine, or give --peak-tflops."]
    whose = time["where"] if time["devices"] == 1 else f"{time['devices']} devices"
    paid = f", cost {time['cost']:,.2f}" if time["cost"] is not None else ""
    lines.append(f"{whose}: peak {rate(time['peak_flops'] * time['devices'])}. With an MFU of {time['mfu']:.0%},")
    lines.append(f"{time['mfu_is']}: {time['tokens_per_second']:,.0f} tokens/s, {duration(time['hours'])}{paid}.")
    return lines


def _plan(facts: Mapping[str, Any]) -> list[str]:
    scaling, ratio = facts["scaling"], facts["tokens"] / facts["parameters"]
    thumb = format_count(scaling["tokens_by_rule_of_thumb"])
    lines = [f"{ratio:,.3g} tokens per parameter; the rule of thumb, {TOKENS_PER_PARAMETER}, asks for {thumb} tokens."]
    if scaling["losses"]:
        lines.append("Loss predicted by fitted scaling laws for web text, in nats per token:")
        lines += [f"  {loss:.2f} ({name})" for name, loss in scaling["losses"].items()]
    return [*lines, ""]


def _best(facts: Mapping[str, Any]) -> Table:
    scaling = facts["scaling"]
    table = _table(
        f"optimum for {scaling['budget_is']}: {scaling['budget']:.3g}", "parameters", "tokens", "loss", "shape"
    )
    for best in scaling["best"]:
        loss = f"{best['loss']:.2f}" if best["loss"] is not None else ""
        shape = f"{best['n_layer']} x {best['n_embd']}"
        table.add_row(best["by"], format_count(best["parameters"]), format_count(best["tokens"]), loss, shape)
    return table


def memory(size: float) -> str:
    for unit, bytes_, digits in (("GB", 1e9, 2), ("MB", 1e6, 1)):
        if size >= bytes_:
            return f"{size / bytes_:,.{digits}f} {unit}"
    return f"{size / 1e3:,.1f} kB"


def rate(flops: float) -> str:
    return f"{flops / 1e12:,.0f} TFLOP/s" if flops >= 1e13 else f"{flops / 1e9:,.0f} GFLOP/s"


def duration(hours: float) -> str:
    for unit, size in (("years", 8766), ("days", 48), ("hours", 1), ("minutes", 1 / 60)):
        if hours >= 2 * size or (unit == "days" and hours >= size):
            return f"{hours / (24 if unit == 'days' else size):,.1f} {unit}"
    return f"{hours * 3600:,.0f} seconds"
