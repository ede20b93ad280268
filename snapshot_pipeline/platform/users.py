"""Reads of `users`: a single user, or the specialization and level of all users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from sqlalchemy import BigInteger, ColumnElement, String, cast, func, select

from snapshot_pipeline.platform.reads import PlatformReader


@dataclass(frozen=True)
class User:
    """A user of the platform; `specialization` and `level` are None where the platform has none."""

    is_student: bool
    is_active: bool
    specialization: str | None
    level: str | None


def read_user(reader: PlatformReader, user_id: int) -> User | None:
    """Return the user; `None` if there is no user with this id."""
    users = reader.tables.users
    columns: list[ColumnElement[Any]] = [
        (func.upper(cast(users.c.role, String)) == "STUDENT").label("is_student"),
        func.coalesce(users.c.is_active, False).label("is_active"),
        *_cohort_columns(reader),
    ]
    rows = reader.fetch(select(*columns).where(users.c.id == user_id)).to_pylist()
    return User(**rows[0]) if rows else None


def read_cohorts(reader: PlatformReader) -> pd.DataFrame:
    """Return `user_id`, `specialization`, `level` (categories, missing for none) of all users.

    Users who are not active students any more are included, because they keep their earlier snapshots.
    """
    columns = [cast(reader.tables.users.c.id, BigInteger).label("user_id"), *_cohort_columns(reader)]
    cohorts: pd.DataFrame = reader.fetch(select(*columns)).to_pandas(strings_to_categorical=True)
    return cohorts


def _cohort_columns(reader: PlatformReader) -> list[ColumnElement[Any]]:
    users = reader.tables.users
    return [
        cast(users.c.current_specialization, String).label("specialization"),
        cast(users.c.current_level, String).label("level"),
    ]
