"""Numbers of the platform as double precision or whole numbers: no value of a row makes the query fail.

A plain cast fails for a decimal that is NaN or infinite (SQLSTATE 0A000) or out of range (22003), and one such row
would fail the run of all students. What becomes of these values: docs/metrics.md, "Invalid rows".
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
    Float,
    Integer,
    Numeric,
    and_,
    case,
    cast,
    func,
    literal_column,
)
from sqlalchemy.dialects.postgresql import DOMAIN

from snapshot_pipeline.metrics.corrections import NOT_A_NUMBER

LARGEST_FLOAT = 1.7976931348623157e308

_LARGEST, _SMALLEST, _INFINITE = (
    literal_column(f"'{value}'::numeric", Numeric) for value in (LARGEST_FLOAT, "1e-300", "Infinity")
)
_LARGEST_INTEGER = 2**63 - 1
_LIMIT = literal_column("9.2e18", Numeric)
_NAN: ColumnElement[Any] = literal_column("'NaN'")


def double(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a number as double precision; a decimal out of its range is the nearest number in it."""
    if not is_decimal(column):
        return cast(column, Double)
    return cast(
        case(
            (and_(column > _LARGEST, column < _INFINITE), _LARGEST),  # NaN is greater than infinity
            (and_(column < -_LARGEST, column > -_INFINITE), -_LARGEST),
            (func.abs(column) < _SMALLEST, 0),
            else_=column,
        ),
        Double,
    )


def whole(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a number as bigint, rounded; 0 for null, `NOT_A_NUMBER` for NaN, and the nearest one if out of range."""
    if isinstance(_base_type(column), Integer):
        return cast(func.coalesce(column, 0), BigInteger)
    return case(
        (column.is_(None), 0),
        (column == _NAN, cast(literal_column(f"'{NOT_A_NUMBER}'"), BigInteger)),
        (column > _LIMIT, cast(_LARGEST_INTEGER, BigInteger)),
        (column < -_LIMIT, cast(-_LARGEST_INTEGER, BigInteger)),
        else_=cast(column, BigInteger),
    )


def is_decimal(column: ColumnElement[Any]) -> bool:
    """Return whether the values are of the type `numeric`, which is wider than double precision."""
    kind = _base_type(column)
    return isinstance(kind, Numeric) and not isinstance(kind, Float)


def _base_type(column: ColumnElement[Any]) -> Any:
    return column.type.data_type if isinstance(column.type, DOMAIN) else column.type
