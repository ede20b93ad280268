"""A sample becomes the tables of a database.

Put here: the passing on of chunks, and the progress.
Do not put here: what is made (`chunks`), or how tables are replaced (`ownership`).
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import URL

from snapshot_pipeline.platform.ownership import replace_platform
from snapshot_pipeline.platform.sample.chunks import generate_chunks
from snapshot_pipeline.platform.sample.options import SampleOptions


def load_sample(
    options: SampleOptions, url: URL, schema: str, progress: Callable[[int], None] | None = None
) -> dict[str, int]:
    """Make the platform and put it in the place of an earlier sample, in one transaction.

    Args:
        options: What is made.
        url: The database.
        schema: The schema of the platform's tables.
        progress: Told the number of students written so far, chunk by chunk. Keys and indexes follow after the last.

    Returns:
        The number of rows by table name.

    Raises:
        PlatformNotOursError: The schema holds a platform that we did not make; nothing is changed.
        PlatformWriteError: The database cannot be reached or refuses; nothing is changed.
    """
    students = 0
    with replace_platform(url, schema) as writer:
        for chunk in generate_chunks(options):
            for name, table in chunk.tables().items():
                writer.append(name, table)
            students = min(options.students, students + options.chunk_students)
            if progress is not None:
                progress(students)
    return dict(writer.rows)
