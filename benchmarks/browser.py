"""Throughput of the static page in headless Chromium, in characters per second.

    python benchmarks/browser.py [--characters 2000] [--rounds 5] [--chromium /usr/bin/chromium]

The page is exported to a temporary folder, served on loopback and opened with Playwright (pip install playwright). The
time runs from the page's request to the end of the text; it includes sampling, log-probabilities and the messages
between page and worker. 250 characters fit the shipped model's context; in a longer text half a context is encoded
again every 128 characters. `scalar` runs without engine/kernels_wasm.js and must generate the same text.
"""

import functools
import http.server
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from common import interleave, report

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.web.export import write_site

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
GENERATE_SCRIPT = """async ({ characters, seed }) => {
    window.client ??= (await import("./api/worker_client.js")).makeClient();
    const [model] = await client.models();
    const generate = (max_tokens) => {
        let text = "";
        const request = { model: model.id, prompt: "ROMEO:", max_tokens, temperature: 0.8, seed, logprobs: 5 };
        return client.complete(request, { onChunk: (chunk) => (text += chunk.text) }).then(() => text);
    };
    await generate(40);
    const start = performance.now();
    const text = await generate(characters);
    return [text, (1000 * text.length) / (performance.now() - start)];
}"""
LOAD_SCRIPT = """async () => {
    const start = performance.now();
    const client = (await import("./api/worker_client.js")).makeClient();
    const [model] = await client.models();
    await client.complete({ model: model.id, prompt: "ROMEO:", max_tokens: 1, temperature: 0 }, { onChunk() {} });
    return performance.now() - start;
}"""


@dataclass
class Args:
    characters: int = 2000
    """length of the long texts"""
    rounds: int = 5
    """measurements per case"""
    chromium: Path = Path(shutil.which("chromium") or "/usr/bin/chromium")
    """Chromium executable"""
    model: str = "shakespeare"
    """a shipped model's name, or a checkpoint folder"""


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serve_folder(folder: Path) -> Iterator[str]:
    """Serve the folder on loopback; yields its URL."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def write_pages(model: str, folder: Path) -> int:
    """Export the page, and a copy without SIMD kernels; return the size of the first in bytes."""
    size = write_site(resolve_checkpoint(model), model, folder / "page")
    shutil.copytree(folder / "page", folder / "scalar")
    kernels = folder / "scalar" / "engine" / "kernels_wasm.js"
    kernels.write_text('export function wasmKernels() { throw new Error("disabled"); }\n', encoding="utf-8")
    return size


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        sys.exit("this needs Playwright: pip install playwright")
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as driver:
        size = write_pages(args.model, Path(temporary))
        browser = driver.chromium.launch(executable_path=str(args.chromium), args=FLAGS)
        with serve_folder(Path(temporary)) as address:
            texts: dict[tuple[int, int], str] = {}

            def open_page(name: str) -> Any:
                page = browser.new_page()
                page.goto(f"{address}{name}/index.html")
                return page

            def rate(page: Any, characters: int) -> Callable[[], float]:
                seeds = iter(range(10**6))

                def once() -> float:
                    seed = next(seeds)
                    text, found = page.evaluate(GENERATE_SCRIPT, {"characters": characters, "seed": seed})
                    if texts.setdefault((characters, seed), text) != text:
                        sys.exit(f"the texts generated with seed {seed} differ between runs")
                    return float(found)

                return once

            def load() -> float:
                page = open_page("page")
                milliseconds = float(page.evaluate(LOAD_SCRIPT))
                page.close()
                return milliseconds

            page, scalar = open_page("page"), open_page("scalar")
            series = interleave(
                args.rounds,
                {
                    "250 characters (one context)": rate(page, 250),
                    f"{args.characters:,} characters": rate(page, args.characters),
                    "scalar kernels, 250 characters": rate(scalar, 250),
                },
                "chars/s",
            )
            series += interleave(args.rounds, {"from opening the page to the first character": load}, "ms")
            facts = {"chromium": browser.version, "page, MB": round(size / 1e6, 2)}
            browser.close()
    report("The static page in Chromium", series, facts)


if __name__ == "__main__":
    main()
