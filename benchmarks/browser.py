"""The page without a server, in headless Chromium: characters a second, as a reader's browser writes them.

    python benchmarks/browser.py [--characters 2000] [--rounds 5] [--chromium /usr/bin/chromium]

The page is written into a temporary folder, served on loopback and opened through Playwright (pip install playwright).
A rate is the characters of a text over the time from asking for it to its end, seen by the page: messages between the
page and its worker, sampling and log-probabilities are in it. A text of 250 characters fits the shipped model's block;
beyond it half a window is encoded again every 128 characters. `plain` runs without kernels_wasm.js and must agree.
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
WRITE = """async ({ characters, seed }) => {
    window.client ??= (await import("./api/worker_client.js")).makeClient();
    const [model] = await client.models();
    const ask = (max_tokens) => {
        let text = "";
        const request = { model: model.id, prompt: "ROMEO:", max_tokens, temperature: 0.8, seed, logprobs: 5 };
        return client.complete(request, { onPiece: (piece) => (text += piece.text) }).then(() => text);
    };
    await ask(40);
    const begun = performance.now();
    const text = await ask(characters);
    return [text, (1000 * text.length) / (performance.now() - begun)];
}"""
LOAD = """async () => {
    const begun = performance.now();
    const client = (await import("./api/worker_client.js")).makeClient();
    const [model] = await client.models();
    await client.complete({ model: model.id, prompt: "ROMEO:", max_tokens: 1, temperature: 0 }, { onPiece() {} });
    return performance.now() - begun;
}"""


@dataclass
class Args:
    characters: int = 2000
    """of the longer texts"""
    rounds: int = 5
    """measurements of each kind"""
    chromium: Path = Path(shutil.which("chromium") or "/usr/bin/chromium")
    """the browser"""
    model: str = "shakespeare"
    """a shipped model's name, or a checkpoint folder"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder on loopback; gives its address."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def write_pages(model: str, folder: Path) -> int:
    """The page, and one without kernels_wasm.js; returns the first one's size."""
    size = write_site(resolve_checkpoint(model), model, folder / "page")
    shutil.copytree(folder / "page", folder / "plain")
    simd = folder / "plain" / "engine" / "kernels_wasm.js"
    simd.write_text('export function simd() { throw new Error("not here"); }\n', encoding="utf-8")
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
        with served(Path(temporary)) as address:
            texts: dict[tuple[int, int], str] = {}

            def opened(name: str) -> Any:
                page = browser.new_page()
                page.goto(f"{address}{name}/index.html")
                return page

            def rate(page: Any, characters: int) -> Callable[[], float]:
                seeds = iter(range(10**6))

                def once() -> float:
                    seed = next(seeds)
                    text, found = page.evaluate(WRITE, {"characters": characters, "seed": seed})
                    if texts.setdefault((characters, seed), text) != text:
                        sys.exit(f"two texts of seed {seed} differ")
                    return float(found)

                return once

            def load() -> float:
                page = opened("page")
                milliseconds = float(page.evaluate(LOAD))
                page.close()
                return milliseconds

            page, plain = opened("page"), opened("plain")
            series = interleave(
                args.rounds,
                {
                    "within the block (250 characters)": rate(page, 250),
                    f"{args.characters:,} characters": rate(page, args.characters),
                    "plain, within the block": rate(plain, 250),
                },
                "chars/s",
            )
            series += interleave(args.rounds, {"from the page to the first character": load}, "ms")
            facts = {"chromium": browser.version, "page, MB": round(size / 1e6, 2)}
            browser.close()
    report("The page without a server, in Chromium", series, facts)


if __name__ == "__main__":
    main()
