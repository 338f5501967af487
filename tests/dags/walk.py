"""A person's way through MLflow's pages in a real browser: from the champion to a raw source, back down to the model, to its run.

`python -m tests.dags.walk STORE FOLDER` walks it and leaves its pictures in a folder.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

SOURCE = "collect-tales"
DOWN = ("filter-tales", "dedup", "encode", "pretrain", "sft", "dpo", "quantize")
"""From the source to the model: each is a link on the page of the one before."""
RUN = re.compile(r"^\d{8}-\d{6}-\w+$")
SHOWN = (
    "all => all.filter(one => one.complete && one.naturalWidth).map(one => new URL(one.src).searchParams.get('path'))"
)
LOADED = "() => (all => all.length && all.every(one => one.complete))([...document.querySelectorAll('img[src*=\"get-artifact\"]')])"
LOOK_MS, TRIES = 1500, 6


def browser() -> str | None:
    """The program of an installed Chromium."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def served(store: str) -> Iterator[str]:
    """The address that `corpusmill ui` prints, for the time of a `with`."""
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "ui", "--store", store, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield next(found.group() for line in server.stdout if (found := re.search(r"http://\S+", line)))
        finally:
            server.terminate()


def walk(address: str, model: str, pictures: Path) -> list[str]:
    """Walk from the page at `address`, by clicks alone; the headings met, from the champion's version on, then the pictures
    that the run's page shows."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1500, "height": 1000})
        page.set_default_timeout(60_000)
        page.goto(address)
        page.get_by_role("link", name="Model registry").click()
        page.get_by_role("button", name="Try it now").click()  # MLflow greets who is here for the first time
        page.locator(f'a[href="#/models/{model}"]').click()
        page.get_by_role("link", name=re.compile("^Version")).first.click()  # the newest stands first
        page.get_by_text("@ champion").first.wait_for()
        met = [_heading(page, pictures, "version")]
        for label in (SOURCE, *DOWN):
            page = _follow(page, label)
            met.append(_heading(page, pictures, label))
        page = _follow(page, RUN)
        met.append(_heading(page, pictures, "run"))
        page.wait_for_function(LOADED)
        met += page.locator('img[src*="get-artifact"]').evaluate_all(SHOWN)
        chromium.close()
    return met


def _follow(page: Page, label: str | re.Pattern[str]) -> Page:
    """The page that a link of the description opens; MLflow opens those in a tab of their own."""
    from playwright.sync_api import TimeoutError as Hindered

    link = page.get_by_role("link", name=label, exact=True).first
    for left in reversed(range(TRIES)):
        try:
            with page.expect_popup() as opened:
                link.click(timeout=60_000 / TRIES)
            break
        except Hindered:  # by what came after the look at this page
            if not left:
                raise
            _clear(page)
    opened.value.set_default_timeout(60_000)
    return opened.value


def _heading(page: Page, pictures: Path, name: str) -> str:
    page.get_by_role("heading", level=2).or_(page.get_by_role("heading", level=1)).first.wait_for()
    page.get_by_text("Description").first.wait_for()
    page.wait_for_timeout(LOOK_MS)
    _clear(page)
    page.screenshot(path=pictures / f"walk-{name}.png")
    return page.get_by_role("heading").first.inner_text()


def _clear(page: Page) -> None:
    """Put away what stands before the description."""
    greeting = page.get_by_role("button", name="Close").first
    if greeting.is_visible():  # its assistant takes a third of the page
        greeting.click()
    more = page.get_by_text("Show more", exact=True).first
    if more.is_visible():  # MLflow folds a description after a few lines
        more.click()
        page.wait_for_timeout(LOOK_MS)


if __name__ == "__main__":
    with served(sys.argv[1]) as at:
        print(*walk(at, sys.argv[3] if len(sys.argv) > 3 else "quickstart", Path(sys.argv[2])), sep="\n")
