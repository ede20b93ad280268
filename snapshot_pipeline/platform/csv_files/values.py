"""From columns of text to columns of values, in the types of the platform's tables.

Put here: what a field of each type may look like, all at once and one by one.
Do not put here: time stamps (`time_stamps`), or which line a bad field stands in (`locating`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Column, Table

from snapshot_pipeline.platform.csv_files.time_stamps import moment, moments
from snapshot_pipeline.platform.ownership import arrow_schema

_INTEGER = re.compile(r"(?P<whole>[+-]?\d+)(?:\.0*)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_WORDS = {
    **dict.fromkeys(("true", "t", "yes", "y", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0"), False),
}


@dataclass(frozen=True)
class Kind:
    """How the fields of a column become values.

    Attributes:
        expected: What an error message says that was expected.
        arrow_type: The type of the values.
        convert: All fields at once; raises `pa.ArrowInvalid` when one of them is not in the usual spelling.
        parse: One field, neither empty nor padded; raises `ValueError` or `OverflowError` when it is no value.
    """

    expected: str
    arrow_type: pa.DataType
    convert: Callable[[pa.Array], pa.Array]
    parse: Callable[[str], Any]


class BadValueError(Exception):
    """The field in `row` (counted from 0 in its block) of `column` is no value."""

    def __init__(self, row: int, column: str) -> None:
        super().__init__(row, column)
        self.row = row
        self.column = column


def kind_of(column: Column[Any], naive_zone: ZoneInfo) -> Kind:
    """What the fields of a column may be; `naive_zone` is that of time stamps without an offset."""
    arrow_type = arrow_schema(column.table).field(column.name).type
    if pa.types.is_integer(arrow_type):
        bits = arrow_type.bit_width - 1
        return Kind(
            f"a whole number from {-(2**bits)} to {2**bits - 1}",
            arrow_type,
            partial(_whole_numbers, arrow_type=arrow_type),
            partial(whole_number, bits=bits),
        )
    if pa.types.is_boolean(arrow_type):
        return Kind("true or false", arrow_type, _booleans, _boolean)
    if pa.types.is_timestamp(arrow_type):
        expected = "a time stamp such as 2025-03-01T18:30:00+01:00"
        return Kind(
            expected, arrow_type, partial(moments, naive_zone=naive_zone), partial(moment, naive_zone=naive_zone)
        )
    if pa.types.is_floating(arrow_type):
        return Kind("a number", arrow_type, lambda fields: pc.cast(fields, arrow_type), _number)
    return Kind("text without NUL characters", arrow_type, _texts, _text)


def converted(block: pa.Table, table: Table, kinds: dict[str, Kind]) -> pa.Table:
    """The block's columns as values.

    Raises:
        BadValueError: For the first row that holds a bad value.
    """
    columns, bad_values = {}, []
    for name, kind in kinds.items():
        try:
            columns[name] = _converted_column(block.column(name).combine_chunks(), table.columns[name], kind)
        except BadValueError as bad:
            bad_values.append(bad)
    if bad_values:
        raise min(bad_values, key=lambda bad: bad.row)
    return pa.table(columns)


def _converted_column(fields: pa.Array, column: Column[Any], kind: Kind) -> pa.Array:
    try:
        values = kind.convert(fields)
    except pa.ArrowInvalid:
        values = _one_by_one(fields, column.name, kind)
    if not column.nullable and values.null_count:
        if not pa.types.is_string(kind.arrow_type):
            raise BadValueError(pc.index(pc.is_null(values), True).as_py(), column.name)
        values = pc.fill_null(values, "")
    return values


def _one_by_one(fields: pa.Array, column: str, kind: Kind) -> pa.Array:
    values = []
    for row, field in enumerate(fields.to_pylist()):
        stripped = (field or "").strip()
        try:
            values.append(kind.parse(stripped) if stripped else None)
        except (ValueError, OverflowError):
            raise BadValueError(row, column) from None
    return pa.array(values, kind.arrow_type)


def _whole_numbers(fields: pa.Array, arrow_type: pa.DataType) -> pa.Array:
    # Arrow would read 0x10 as 16.
    if pc.any(pc.match_substring(fields, "x", ignore_case=True)).as_py():
        raise pa.ArrowInvalid("not decimal")
    return pc.cast(fields, arrow_type)


def whole_number(field: str, bits: int) -> int:
    """One field, without its sign in at most so many bits.

    Raises:
        ValueError: It is no such number.
    """
    match = _INTEGER.fullmatch(field)
    if not match or not -(2**bits) <= (value := int(match["whole"])) < 2**bits:
        raise ValueError(field)
    return value


def _booleans(fields: pa.Array) -> pa.Array:
    places = pc.index_in(pc.utf8_lower(fields), value_set=pa.array(_WORDS))
    if places.null_count > fields.null_count:
        raise pa.ArrowInvalid("not a known word")
    return pc.take(pa.array(_WORDS.values()), places)


def _boolean(field: str) -> bool:
    if field.lower() not in _WORDS:
        raise ValueError(field)
    return _WORDS[field.lower()]


def _number(field: str) -> float:
    if not _NUMBER.fullmatch(field):
        raise ValueError(field)
    return float(field)


def _texts(fields: pa.Array) -> pa.Array:
    if pc.any(pc.match_substring(fields, "\0")).as_py():
        raise pa.ArrowInvalid("NUL")
    return fields


def _text(field: str) -> str:
    if "\0" in field:
        raise ValueError(field)
    return field
