"""Take the screenshots of README.md from the Dagster UI on this machine: `make demo`, `make dev`, then this."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import click
from PIL import Image
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
SIZE = (1440, 900)
WIDTH = 960
"""Pixels of a picture's width: readable in a README, and some tens of kilobytes."""

_SETTLED_MS = 8_000
"""How long a page may take to draw itself."""


def _graph(page: Page) -> None:
    page.goto("/assets/performance_snapshots?view=lineage")


def _asset(page: Page) -> None:
    page.goto("/assets/performance_snapshots?view=overview")


def _plots(page: Page) -> None:
    page.goto("/assets/performance_snapshots?view=overview")
    page.get_by_role("button", name="Plots").click()
    page.locator("canvas").first.scroll_into_view_if_needed()


def _day(page: Page) -> None:
    page.goto("/assets/performance_snapshots?view=partitions")
    page.locator("text=/^\\d{4}-\\d{2}-\\d{2}$/").nth(2).click(force=True)
    page.get_by_role("row").filter(has_text="pace_by_label").get_by_text("Show Markdown").click()


def _backfill(page: Page) -> None:
    page.goto("/assets/performance_snapshots?view=overview")
    page.get_by_role("button", name="Materialize").first.click()


def _check(page: Page) -> None:
    page.goto("/assets/performance_snapshots?view=checks&checkDetail=success_rate")


PAGES: dict[str, Callable[[Page], None]] = {
    "graph": _graph,
    "asset": _asset,
    "plots": _plots,
    "day": _day,
    "backfill": _backfill,
    "check": _check,
}


@click.command()
@click.option("--url", default="http://127.0.0.1:3000", show_default=True, help="The Dagster UI.")
@click.option("--report", type=click.Path(exists=True, path_type=Path), help="A weekly page to be shown as well.")
def main(url: str, report: Path | None) -> None:
    """Take the screenshots, and make them small."""
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = browser.new_context(base_url=url, viewport={"width": SIZE[0], "height": SIZE[1]}).new_page()
        for name, open_page in PAGES.items():
            open_page(page)
            page.wait_for_timeout(_SETTLED_MS)
            _save(page.screenshot(), IMAGES / f"{name}.webp")
        if report is not None:
            page.goto(report.absolute().as_uri())
            _save(page.screenshot(), IMAGES / "weekly_report.webp")
        browser.close()


def _save(screenshot: bytes, path: Path) -> None:
    with Image.open(io.BytesIO(screenshot)) as plot:
        small = plot.convert("RGB").resize((WIDTH, plot.height * WIDTH // plot.width), Image.Resampling.LANCZOS)
        small.save(path, quality=80, method=6)
    click.echo(f"{path.relative_to(Path.cwd())}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
