"""Options and output that the commands share: days, bounded integers, colors, `--json`.

Every command imports this module, so it imports nothing but click and the standard library.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from snapshot_pipeline.settings import Settings

SHOWN_DAYS = 14
"""Default number of days that `status` shows and `materialize --missing` searches."""

PROBLEM_STATUS = 3
"""Exit status if there are problems; 1 means an error, 2 is click's for a wrong option."""

_TERMINALS_WITHOUT_CURSOR = ("dumb", "unknown")


def is_drawable(stream: TextIO) -> bool:
    """Return whether lines can be redrawn: the stream is a terminal, and not one with `TERM=dumb`."""
    return stream.isatty() and os.environ.get("TERM") not in _TERMINALS_WITHOUT_CURSOR


def colors() -> bool | None:
    """Return False if colors are off (https://no-color.org) or not supported; None lets the stream decide."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") in _TERMINALS_WITHOUT_CURSOR else None


class _Day(click.ParamType):  # type: ignore[type-arg]  # generic only in recent versions of click
    """A date as YYYY-MM-DD."""

    name = "YYYY-MM-DD"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            return datetime.strptime(str(value), "%Y-%m-%d").date()  # noqa: DTZ007  # a date has no time zone
        except ValueError:
            self.fail(f"'{value}' is not a date; expected YYYY-MM-DD, e.g. 2026-11-22", param, ctx)


DAY = _Day()
"""The type of an option that takes a date."""


class BoundedInteger(click.IntRange):
    """An integer between two bounds, both included."""

    def __init__(self, least: int, most: int, name: str = "integer") -> None:
        super().__init__(least, most)
        self.name = name
        self._range = f"{least} to {most}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the integer.

        Raises:
            click.BadParameter: The text is not an integer, or out of range.
        """
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{str(value)!r} is not a valid {self.name}; expected {self._range}.", param, ctx)


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document; progress and errors go to stderr."
)


def print_sources(settings: Settings) -> None:
    """Print in one line which database and which `.env` files are used."""
    from snapshot_pipeline.postgres.urls import masked_url, parse_url
    from snapshot_pipeline.settings import demo_file, dotenv_files

    files = dotenv_files()
    if settings.database_url:
        database = masked_url(parse_url(settings.database_url.get_secret_value(), "SNAPSHOT_DATABASE_URL"))
    else:
        database = f"the embedded server in {settings.home}"
        files += [file for file in [demo_file(settings.home)] if file.is_file()]
    names = " and ".join(map(str, files)) or "no .env file"
    click.echo(f"Database: {database}; settings from the environment and {names}.")


def print_json(document: Mapping[str, object]) -> None:
    """Print a JSON document. Dates and times are ISO 8601, times with their offset; unknown values are null."""
    click.echo(json.dumps(document, default=_iso_format, indent=2, ensure_ascii=False, allow_nan=False))


def _iso_format(value: object) -> str:
    if isinstance(value, date):  # or a datetime, which is a subclass
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
