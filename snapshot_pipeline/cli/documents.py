"""What `--json` prints: one JSON document on standard output, and nothing else there.

Put here: how values are written. Do not put here: the keys of a document, which stand at its command.

Days and moments are ISO 8601, moments with their offset; what is not known is null; a key is never left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date

import click

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document instead; progress and errors go to stderr."
)


def print_document(document: Mapping[str, object]) -> None:
    """Print the document, with a line end."""
    click.echo(json.dumps(document, default=_written, indent=2, ensure_ascii=False, allow_nan=False))


def _written(value: object) -> str:
    if isinstance(value, date):  # a datetime is one
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no form in a JSON document of ours")
