"""The options of a sample with their bounds, and the random streams that follow from the seed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

import numpy as np

from snapshot_pipeline.errors import SnapshotPipelineError

MAX_STUDENTS = 10_000_000
MAX_DAYS = 3_650
CHUNK_STUDENT_DAYS = 3_000_000
"""Students × days of a chunk: about 0.4 GB, and no slower than larger chunks. Part of what a seed means."""


class SampleError(SnapshotPipelineError):
    """An option of the sample is out of bounds; the message names the option and its bounds."""


@dataclass(frozen=True)
class SampleOptions:
    """The options of a sample; the same options give the same tables.

    Attributes:
        students: Number of users with the role of a student; about 2 % teachers and admins are added.
        seed: Selects the random streams; 0 or more.
        until: The first day that is not covered: all rows are before its local midnight.
        bad_rate: The share, 0 to 1, of the students with a snapshot on the last day who get an invalid row.
        zone: The platform's time zone: study hours and weekends are local.
        story: Whether the events of `story` happen as well.
    """

    students: int
    days: int
    seed: int
    until: date
    bad_rate: float
    zone: ZoneInfo
    story: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.students <= MAX_STUDENTS:
            raise SampleError(f"students={self.students}: expected 1 to {MAX_STUDENTS:,} students")
        if not 1 <= self.days <= MAX_DAYS:
            raise SampleError(f"days={self.days}: expected 1 to {MAX_DAYS:,} days")
        if self.seed < 0:
            raise SampleError(f"seed={self.seed}: expected a whole number of 0 or more")
        if not 0 <= self.bad_rate <= 1:
            raise SampleError(f"bad rate={self.bad_rate}: expected a share between 0 and 1, such as 0.05 for 5 %")
        # Invalid rows may be days before a short period, and microseconds since 1970 stay positive.
        if not 1990 <= self.until.year < 2200:
            raise SampleError(f"until={self.until}: expected a day from 1990-01-01 to 2199-12-31")

    @property
    def chunk_students(self) -> int:
        """Number of students in a chunk; the last chunk has fewer."""
        return CHUNK_STUDENT_DAYS // self.days


def random_stream(seed: int, stream: int) -> np.random.Generator:
    """Return one of the independent random streams of a seed: 0 for the catalog, 1 and more for a chunk each."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(stream,))))
