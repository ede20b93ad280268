"""The files become the platform's tables.

Put here: the way of a file, block by block, into the database. Do not put here: any of its steps.
"""

from __future__ import annotations

from collections.abc import Callable
from zoneinfo import ZoneInfo

from sqlalchemy import URL, Table

from snapshot_pipeline.platform.csv_files.blocks import blocks_of
from snapshot_pipeline.platform.csv_files.files import CsvFile
from snapshot_pipeline.platform.csv_files.locating import bad_value, duplicate_key
from snapshot_pipeline.platform.csv_files.values import BadValueError, converted, kind_of
from snapshot_pipeline.platform.ownership import DuplicateKeyError, PlatformWriter, replace_platform
from snapshot_pipeline.platform.tables import platform_metadata

ProgressListener = Callable[[str, int, int], None]
"""Told the table, the bytes of its file that have been read, and how many it has; often, and with all of them once."""


def load_csv_files(
    files: list[CsvFile], url: URL, schema: str, naive_zone: ZoneInfo, progress: ProgressListener | None = None
) -> dict[str, int]:
    """Replace the platform's tables by the files' rows, in one transaction.

    Args:
        files: As found by `find_csv_files`. An optional table without a file is absent from the database afterwards,
            as on a platform that has none.
        url: The database.
        schema: The schema of the platform's tables.
        naive_zone: The zone of time stamps that carry no offset.
        progress: Told how far a file has been read.

    Returns:
        Rows loaded, by table name.

    Raises:
        CsvFileError: A file cannot be read or holds a bad value or a key twice; nothing is changed.
        PlatformNotOursError: The schema holds a platform's own tables; nothing is changed.
        PlatformWriteError: The database refuses; nothing is changed.
    """
    by_table = {file.table_name: file for file in files}
    tables = platform_metadata(schema).tables
    try:
        with replace_platform(url, schema, by_table) as writer:
            for file in files:
                _load_file(file, tables[f"{schema}.{file.table_name}"], writer, naive_zone, progress)
    except DuplicateKeyError as error:
        raise duplicate_key(by_table[error.duplicate.table], error.duplicate) or error from None
    return dict(writer.rows)


def _load_file(
    file: CsvFile, table: Table, writer: PlatformWriter, naive_zone: ZoneInfo, progress: ProgressListener | None
) -> None:
    kinds = {name: kind_of(table.columns[name], naive_zone) for name in file.columns}
    row_count = 0
    for block, bytes_read in blocks_of(file):
        try:
            rows = converted(block.rename_columns(list(file.columns)), table, kinds)
        except BadValueError as bad:
            raise bad_value(file, row_count + bad.row, bad.column, kinds[bad.column].expected) from None
        writer.append(file.table_name, rows)
        row_count += rows.num_rows
        if progress and bytes_read < file.size:
            progress(file.table_name, bytes_read, file.size)
    if progress:
        progress(file.table_name, file.size, file.size)
