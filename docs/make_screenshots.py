"""Take the picture of README.md on this machine: run `make demo`, `make dev`, then this.

It is the demo's story: the weekly report, the incident in the UI, its cause, and the incident solved, which this does.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import click
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from snapshot_pipeline.pipeline.periods import last_closed_day, last_closed_week
from snapshot_pipeline.pipeline.report_files import report_path
from snapshot_pipeline.settings import load_settings

PICTURE = Path(__file__).parent / "images" / "story.webp"
WIDTH, HEIGHT = 1440, 880
SHARPNESS = 1.2
"""Pixels of the picture per pixel of the page; README shows it at about 830 pixels."""

FRAME_MS = 3_500
_SOLVED_MS = 90_000
_SETTLED_MS = 4_000


@click.command()
@click.option("--url", default="http://127.0.0.1:3000", show_default=True, help="The Dagster UI.")
def main(url: str) -> None:
    """Take the frames, and save them as an animation."""
    settings = load_settings()
    day = last_closed_day(settings)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = browser.new_context(
            viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=SHARPNESS
        ).new_page()
        incidents = f"{url}/assets/incidents?view=checks"
        frames = [
            _frame(page, report_path(settings, last_closed_week(settings)).as_uri()),
            _frame(page, incidents),
            _frame(page, f"{url}/assets/performance_snapshots?view=checks&checkDetail=data_quality"),
        ]
        _run("db", "psql", "-c", "UPDATE quiz_attempts SET score = NULL WHERE score = -1")
        _run("materialize", "--from", str(day), "--to", str(day))
        page.goto(incidents)
        expect(page.get_by_text("No incident is open.")).to_be_visible(timeout=_SOLVED_MS)
        frames.append(_frame(page, incidents))
        browser.close()
    frames[0].save(
        PICTURE,
        save_all=True,
        append_images=frames[1:],
        duration=FRAME_MS,
        loop=0,
        quality=70,
        method=6,
        minimize_size=True,
    )
    click.echo(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")


def _frame(page: Page, address: str) -> Image.Image:
    page.goto(address)
    page.wait_for_timeout(_SETTLED_MS)
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "snapshot_pipeline.cli", *arguments], check=True)  # noqa: S603  # our own command


if __name__ == "__main__":
    main()
