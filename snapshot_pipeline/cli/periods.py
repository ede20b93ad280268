"""The type of a day on the command line."""

from __future__ import annotations

from datetime import date, datetime

import click

SHOWN_DAYS = 14
"""Default number of days that `status` shows and `materialize --missing` searches."""


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
