"""What a user may ask for, and its bounds.

Put here: the options, their checks, and the random streams that follow from the seed.
Do not put here: what is made of them (`chunks`), or the command's options and defaults (`cli.sample`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

import numpy as np

from snapshot_pipeline.errors import SnapshotPipelineError

MAX_STUDENTS = 10_000_000
MAX_DAYS = 3_650
CHUNK_CELLS = 3_000_000
"""Students times days made at a time: about 0.4 GB, and no slower than larger chunks. Part of what a seed means."""


class SampleError(SnapshotPipelineError):
    """The sample asked for is impossible or beyond what is made; the message names the option and its bounds."""


@dataclass(frozen=True)
class SampleOptions:
    """What is made; the same options make the same tables.

    Attributes:
        students: How many users have the role of a student; about 2 % teachers and admins come on top.
        days: How many local days are covered.
        seed: Picks the random streams; 0 or more.
        until: The first day that is not covered: no row lies at or after its local midnight.
        bad_rate: The share, 0 to 1, of the students with a snapshot on the last day who are given one wrong row.
        zone: The platform's time zone: study hours and weekends are local.

    Raises:
        SampleError: A value is out of bounds.
    """

    students: int
    days: int
    seed: int
    until: date
    bad_rate: float
    zone: ZoneInfo

    def __post_init__(self) -> None:
        if not 1 <= self.students <= MAX_STUDENTS:
            raise SampleError(f"students={self.students}: expected 1 to {MAX_STUDENTS:,} students")
        if not 1 <= self.days <= MAX_DAYS:
            raise SampleError(f"days={self.days}: expected 1 to {MAX_DAYS:,} days")
        if self.seed < 0:
            raise SampleError(f"seed={self.seed}: expected a whole number of 0 or more")
        if not 0 <= self.bad_rate <= 1:
            raise SampleError(f"bad rate={self.bad_rate}: expected a share between 0 and 1, such as 0.05 for 5 %")
        # The planted rows may lie a week before a short period, and microseconds since 1970 stay positive.
        if not 1990 <= self.until.year < 2200:
            raise SampleError(f"until={self.until}: expected a day from 1990-01-01 to 2199-12-31")

    @property
    def chunk_students(self) -> int:
        """How many students are made at a time, but for the last chunk."""
        return CHUNK_CELLS // self.days


def random_stream(seed: int, stream: int) -> np.random.Generator:
    """One of the independent random streams of a seed: 0 makes the catalogue, 1 and more a chunk of students each."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(stream,))))
