"""Take the screenshots in docs/images: the page in both themes, on a phone, and the inspector.

python docs/figures/screens.py [--chromium /usr/bin/chromium]
"""

import io
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import tyro
from PIL import Image
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parents[1] / "images"
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
PROMPT, WORDS, SEED = "KING HENRY V:\nOnce more", "110", "21"


def save(page: Page, name: str) -> None:
    """Save a screenshot with 256 colours, at half the size."""
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(IMAGES / f"{name}.png", optimize=True)
    print(f"{name}.png: {(IMAGES / f'{name}.png').stat().st_size:,} bytes")  # noqa: T201


def generate(page: Page, url: str, samples: int) -> None:
    """Generate a text with surprisal highlighted."""
    page.goto(url)
    page.locator("#about", has_text="parameters").wait_for()
    page.locator("#sampling").evaluate("it => it.open = true")
    page.fill("[name=seed]", SEED)
    page.locator("#sampling").evaluate("it => it.open = false")
    page.fill("[name=words]", WORDS)
    page.fill("[name=prompt]", PROMPT)
    page.check("[name=shade]")
    page.locator(f"[name=samples][value='{samples}']").check(force=True)
    page.locator("button.main").first.click()
    page.locator(".details", has_text="seed").nth(samples - 1).wait_for()
    page.wait_for_timeout(500)


def shoot(url: str, browser: Any) -> None:
    """Take all screenshots."""
    desktop = {"width": 1280, "height": 900}
    light = browser.new_page(viewport=desktop, color_scheme="light")
    generate(light, url, 1)
    save(light, "page-light")
    dark = browser.new_page(viewport=desktop, color_scheme="dark")
    generate(dark, url, 2)
    save(dark, "page-dark")
    light.locator(".line").nth(9).click(position={"x": 100, "y": 14})
    light.locator(".lens-table").wait_for()
    light.wait_for_timeout(500)
    save(light, "inspector")
    phone = browser.new_page(viewport={"width": 375, "height": 760}, color_scheme="light")
    generate(phone, url, 1)
    save(phone, "page-phone")


def main(chromium: str = shutil.which("chromium") or "chromium") -> None:
    """Start a server and a browser, and take the screenshots."""
    IMAGES.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "inkhorn", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[-1]
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
                shoot(url, browser)
                browser.close()
        finally:
            server.terminate()


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
