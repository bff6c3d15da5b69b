"""Throughput of the static page in headless Chromium, in characters per second.

    python benchmarks/browser.py [--rounds 5] [--baseline FOLDER] [--wllama FOLDER]

The page is exported to a temporary folder, served on loopback and opened with Playwright (pip install playwright). The
time runs from the page's request to the end of the text; it includes sampling, log-probabilities and the messages
between page and worker. 240 characters fit the shipped model's context; in a longer text half a context is encoded
again every 128 characters. Two figures state how fast a page starts: from opening it, and from its load event, to the
first character. All pages are measured in turn, with one thread each:

- the page with weights in int8, its default, and in int4 and fp32
- --baseline: a page that another version exported: git worktree add /tmp/old REVISION, and with PYTHONPATH=/tmp/old/src
  inkhorn export --web FOLDER
- --wllama: llama.cpp in WebAssembly, with the same model as Q8_0 and F16: the unpacked folder of npm pack
  @wllama/wllama. It samples, but computes no log-probabilities.
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
from typing import Any, Literal

import tyro
from common import interleave, report

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.config.quantization import Precision
from inkhorn.convert.gguf import write_gguf
from inkhorn.web.export import write_site

PRECISIONS: tuple[Precision, ...] = ("int8", "int4", "fp32")
GGUF_TYPES: tuple[Literal["q8_0", "f16"], ...] = ("q8_0", "f16")
CONTEXT = 240  # characters that fit the shipped model's context after the prompt

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
WLLAMA_SCRIPT = """async ({ characters, seed, file }) => {
    const { Wllama } = await import("../wllama/esm/index.js");
    if (!window.wllama) {
        const paths = { default: new URL("../wllama/esm/wasm/wllama.wasm", location.href).href };
        window.wllama = new Wllama(paths, { suppressNativeLog: true });
        const model = await (await fetch(file)).blob();
        await wllama.loadModel([model], { n_ctx: 256, n_threads: 1, n_gpu_layers: 0, n_parallel: 1 });
    }
    const generate = async (max_tokens) => {
        const sampling = { temperature: 0.8, seed, top_k: 0, top_p: 1, min_p: 0, cache_prompt: false };
        const answer = await wllama.createCompletion({ prompt: "ROMEO:", max_tokens, ...sampling });
        return answer.choices[0].text;
    };
    await generate(40);
    const start = performance.now();
    const text = await generate(characters);
    return [text, (1000 * text.length) / (performance.now() - start)];
}"""
FIRST_TEXT_SCRIPT = """window.firstText = new Promise((resolve) => addEventListener("load", () => {
    const start = performance.now();
    const [form, prompt, samples] = ["#form", "#prompt", "#samples"].map((name) => document.querySelector(name));
    const observer = new MutationObserver(() => {
        const shown = samples.querySelector(".text-view")?.textContent ?? "";
        if (shown.length <= prompt.value.length) return;
        observer.disconnect();
        resolve([performance.now(), performance.now() - start]);
    });
    observer.observe(samples, { childList: true, characterData: true, subtree: true });
    form.requestSubmit();
}))"""


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
    baseline: Path | None = None
    """a page that another version exported"""
    wllama: Path | None = None
    """the unpacked npm package @wllama/wllama"""


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


def write_pages(args: Args, folder: Path) -> dict[str, int]:
    """Write every page into a folder of its own; return the sizes of the exported pages in bytes."""
    checkpoint = resolve_checkpoint(args.model)
    sizes: dict[str, int] = {}
    for precision in PRECISIONS:
        sizes[precision] = write_site(checkpoint, args.model, folder / precision, precision)
    if args.baseline is not None:
        shutil.copytree(args.baseline, folder / "baseline")
    if args.wllama is not None:
        shutil.copytree(args.wllama / "esm", folder / "wllama" / "esm")
        for kind in GGUF_TYPES:
            (folder / kind).mkdir()
            (folder / kind / "index.html").write_text("<!doctype html><title>wllama</title>", encoding="utf-8")
            write_gguf(checkpoint, folder / kind / "model.gguf", kind)
    return sizes


class Bench:
    """The cases. The texts of a page must not differ between runs."""

    def __init__(self, browser: Any, address: str) -> None:
        self.browser, self.address = browser, address
        self.texts: dict[tuple[str, int, int], str] = {}

    def open(self, name: str) -> Any:
        page = self.browser.new_page()
        page.goto(f"{self.address}{name}/index.html")
        return page

    def rate(self, name: str, characters: int, script: str = GENERATE_SCRIPT) -> Callable[[], float]:
        page, seeds = self.open(name), iter(range(10**6))

        def once() -> float:
            seed = next(seeds)
            text, found = page.evaluate(script, {"characters": characters, "seed": seed, "file": "model.gguf"})
            if self.texts.setdefault((name, characters, seed), text) != text:
                sys.exit(f"{name}: the texts generated with seed {seed} differ between runs")
            return float(found)

        return once

    def first_text(self, name: str, start: Literal["opening", "load"]) -> Callable[[], float]:
        """To the first generated character in the page, which submits its form at its load event."""

        def once() -> float:
            page = self.browser.new_page()
            page.add_init_script(FIRST_TEXT_SCRIPT)
            page.goto(f"{self.address}{name}/index.html")
            since_opening, since_load = page.evaluate("() => window.firstText")
            page.close()
            return float(since_opening if start == "opening" else since_load)

        return once


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        sys.exit("this needs Playwright: pip install playwright")
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as driver:
        sizes = write_pages(args, Path(temporary))
        browser = driver.chromium.launch(executable_path=str(args.chromium), args=FLAGS)
        with serve_folder(Path(temporary)) as address:
            bench = Bench(browser, address)
            pages = ["int8", *(["baseline"] if args.baseline else [])]
            cases = {
                f"{name}, {characters:,} characters": bench.rate(name, characters)
                for name in pages
                for characters in (CONTEXT, args.characters)
            }
            cases |= {f"{name}, {CONTEXT} characters": bench.rate(name, CONTEXT) for name in ("int4", "fp32")}
            if args.wllama:
                cases |= {
                    f"wllama {kind}, {CONTEXT} characters": bench.rate(kind, CONTEXT, WLLAMA_SCRIPT)
                    for kind in GGUF_TYPES
                }
            series = interleave(args.rounds, cases, "chars/s")
            starts: dict[str, Literal["opening", "load"]] = {"opening the page": "opening", "its load event": "load"}
            loads = {
                f"{name}, first character after {what}": bench.first_text(name, start)
                for name in pages
                for what, start in starts.items()
            }
            series += interleave(args.rounds, loads, "ms")
            facts = {"chromium": browser.version} | {f"{p}, MB": round(size / 1e6, 2) for p, size in sizes.items()}
            browser.close()
    report("The static page in Chromium", series, facts)


if __name__ == "__main__":
    main()
