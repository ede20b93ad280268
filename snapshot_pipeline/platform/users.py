"""Who the platform's users are: one of them, or the specialization and level of all.

Put here: questions to `users` alone. Do not put here: what a batch of students has done (`reads`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from sqlalchemy import BigInteger, ColumnElement, String, cast, func, select

from snapshot_pipeline.platform.reads import PlatformReader


@dataclass(frozen=True)
class User:
    """One user.

    Attributes:
        is_student: Whether the role is that of a student.
        is_active: Whether the account is in use.
        specialization: As text; None for none.
        level: As text; None for none.
    """

    is_student: bool
    is_active: bool
    specialization: str | None
    level: str | None


def read_user(reader: PlatformReader, user_id: int) -> User | None:
    """One user; None where there is none of this id."""
    users = reader.tables.users
    columns: list[ColumnElement[Any]] = [
        (func.upper(cast(users.c.role, String)) == "STUDENT").label("is_student"),
        func.coalesce(users.c.is_active, False).label("is_active"),
        *_cohort_columns(reader),
    ]
    rows = reader.fetch(select(*columns).where(users.c.id == user_id)).to_pylist()
    return User(**rows[0]) if rows else None


def read_cohorts(reader: PlatformReader) -> pd.DataFrame:
    """`user_id`, `specialization`, `level` (categories of text, missing for none) of all users, whatever they are.

    Who is not active any more, or no student, keeps the snapshots of before.
    """
    columns = [cast(reader.tables.users.c.id, BigInteger).label("user_id"), *_cohort_columns(reader)]
    found: pd.DataFrame = reader.fetch(select(*columns)).to_pandas(strings_to_categorical=True)
    return found


def _cohort_columns(reader: PlatformReader) -> list[ColumnElement[Any]]:
    users = reader.tables.users
    return [
        cast(users.c.current_specialization, String).label("specialization"),
        cast(users.c.current_level, String).label("level"),
    ]
