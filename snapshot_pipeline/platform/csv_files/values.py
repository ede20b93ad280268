"""Conversion of text columns into the types of the platform's tables."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Column

from snapshot_pipeline.platform.timestamps import localize
from snapshot_pipeline.postgres.bulk import arrow_type

_BOOLEANS = {
    **dict.fromkeys(("true", "t", "yes", "y", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0"), False),
}
_INSTANT = pa.timestamp("us", tz="UTC")
# The range of Python's datetime; PostgreSQL's is wider, but Python cannot read it.
_YEARS = range(1, 10_000)
_NULLS = frozenset({"NULL", r"\N", "NONE", "NIL", "NA", "N/A", "NAN", "NAT"})
_EPOCH = "[0-9]{9,13}([.][0-9]*)?"
_DIGITS_OF_SECONDS = 10
_OFFSET = "(Z|[+-][0-9]{2}(:?[0-9]{2})?)$"


@dataclass(frozen=True)
class Kind:
    """How the fields of a column become values.

    Attributes:
        expected: What an error message says was expected.
        convert: Converts fields in the usual spelling; raises `pa.ArrowInvalid` for any other.
        pattern: Regular expression of every accepted spelling, for trimmed upper-case fields.
        rewrites: Regular expressions and replacements that make the usual spelling of an accepted one.
    """

    expected: str
    convert: Callable[[pa.Array], pa.Array]
    pattern: str = ".*"
    rewrites: tuple[tuple[str, str], ...] = ()


def column_kind(column: Column[Any], naive_zone: ZoneInfo) -> Kind:
    """Return what the fields of a column may be; timestamps without an offset are local times of `naive_zone`."""
    kind = arrow_type(column)
    if pa.types.is_integer(kind):
        bits = kind.bit_width - 1
        return Kind(
            f"an integer from {-(2**bits)} to {2**bits - 1}",
            lambda fields: _integers(fields, kind),
            "[+-]?[0-9]+([.]0*)?",
            (("[.]0*$", ""), ("^[+]", "")),
        )
    if pa.types.is_boolean(kind):
        return Kind("true or false", _booleans)
    if pa.types.is_timestamp(kind):
        return Kind(
            "a timestamp such as 2025-03-01T18:30:00+01:00",
            lambda fields: _timestamps(fields, naive_zone),
            "[0-9]{4}-[0-9]{2}-[0-9]{2}"
            "([T ][0-9]{2}(:[0-9]{2}(:[0-9]{2}([.,][0-9]{1,9})?)?)?( ?(Z|UTC|[+-][0-9]{2}(:?[0-9]{2})?))?)?",
            ((" ?UTC$", "Z"), (" (Z|[+-][0-9:]+)$", r"\1"), (",", "."), ("([.][0-9]{6})[0-9]+", r"\1")),
        )
    if pa.types.is_floating(kind):
        number = "[+-]?(([0-9]+[.]?[0-9]*|[.][0-9]+)(E[+-]?[0-9]+)?|NAN|INF|INFINITY)"
        return Kind("a number", lambda fields: pc.cast(fields, kind), number, (("^[+]", ""),))
    return Kind("text", lambda fields: fields)


def convert_column(fields: pa.Array, column: Column[Any], kind: Kind) -> pa.Array:
    """Convert the fields of a column; an empty field is null, or the empty text in a text column that is not nullable.

    Raises:
        pa.ArrowInvalid: A field is not valid; `first_invalid` tells which.
    """
    try:
        values = kind.convert(fields)
    except pa.ArrowInvalid:
        values = kind.convert(_usual_spelling(fields, kind))
    if not column.nullable and values.null_count:
        if not pa.types.is_string(values.type):
            raise pa.ArrowInvalid("empty")
        values = pc.fill_null(values, "")
    return values


def how_to_convert(field: str, column: Column[Any]) -> str:
    """Return how to write a field that is not valid, or an empty text if that is not known."""
    value = field.strip()
    if value.upper() in _NULLS:
        return "; for no value leave the field empty" if column.nullable else "; the column needs a value"
    kind = arrow_type(column)
    if pa.types.is_integer(kind) and (column.name == "id" or column.name.endswith("_id")):
        if re.fullmatch("[+-]?[0-9]+([.][0-9]*)?", value):
            return ""  # too large, or a fraction
        return "; ids are numbers: number UUIDs and texts, the same way in every file"
    if pa.types.is_timestamp(kind) and re.fullmatch(_EPOCH, value):
        seconds = float(value) / (1000 if len(value.split(".")[0]) > _DIGITS_OF_SECONDS else 1)
        unit = "seconds" if seconds == float(value) else "milliseconds"
        instant = datetime.fromtimestamp(seconds, timezone.utc)
        return f"; if it counts {unit} since 1970, write {instant:%Y-%m-%dT%H:%M:%SZ}"
    return ""


def first_invalid(fields: pa.Array, column: Column[Any], kind: Kind) -> int:
    """Return the position of the first field that `convert_column` refuses; one of them must be invalid."""
    first, length = 0, len(fields)
    while length > 1:
        half = length // 2
        try:
            convert_column(fields.slice(first, half), column, kind)
        except pa.ArrowInvalid:
            length = half
        else:
            first, length = first + half, length - half
    return first


def _usual_spelling(fields: pa.Array, kind: Kind) -> pa.Array:
    trimmed = pc.utf8_upper(pc.utf8_trim_whitespace(fields))
    trimmed = pc.if_else(pc.equal(trimmed, ""), None, trimmed)
    if pc.all(pc.match_substring_regex(trimmed, f"^({kind.pattern})$")).as_py() not in (True, None):
        raise pa.ArrowInvalid(f"expected {kind.expected}")
    for pattern, replacement in kind.rewrites:
        trimmed = pc.replace_substring_regex(trimmed, pattern, replacement)
    return trimmed


def _integers(fields: pa.Array, kind: pa.DataType) -> pa.Array:
    if pc.any(pc.match_substring(fields, "x", ignore_case=True)).as_py():
        raise pa.ArrowInvalid("not decimal")  # Arrow would read 0x10 as 16
    return pc.cast(fields, kind)


def _booleans(fields: pa.Array) -> pa.Array:
    positions = pc.index_in(pc.utf8_lower(fields), value_set=pa.array(_BOOLEANS))
    if positions.null_count > fields.null_count:
        raise pa.ArrowInvalid("not a boolean")
    return pc.take(pa.array(_BOOLEANS.values()), positions)


def _timestamps(fields: pa.Array, naive_zone: ZoneInfo) -> pa.Array:
    has_offset = pc.match_substring_regex(fields, f"[T :][0-9]{{2}}([.][0-9]*)?{_OFFSET}")
    with_offset = pc.cast(pc.if_else(has_offset, fields, None), _INSTANT)
    local = pc.cast(pc.if_else(has_offset, None, fields), pa.timestamp("us"))
    instants = pc.coalesce(with_offset, _localize(local, naive_zone))
    years = pc.min_max(pc.year(instants.cast(pa.timestamp("us")))).as_py()
    if years["min"] is not None and not (years["min"] in _YEARS and years["max"] in _YEARS):
        raise pa.ArrowInvalid("not in the years 1 to 9999")
    return instants


def _localize(local: pa.Array, zone: ZoneInfo) -> pa.Array:
    if zone.key == "UTC" or local.null_count == len(local):
        return pc.cast(local, _INSTANT)
    # pandas, because Arrow needs the machine's time zone database, which Windows and slim containers lack.
    return pa.array(localize(pd.DatetimeIndex(local.to_pandas()).as_unit("us"), zone), _INSTANT)
