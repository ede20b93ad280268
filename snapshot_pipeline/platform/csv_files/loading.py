"""Loading the files into the platform's tables, block by block, and naming the line of an error."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain
from zoneinfo import ZoneInfo

import pyarrow as pa
from sqlalchemy import URL, Table

from snapshot_pipeline.platform.csv_files.files import (
    CsvFile,
    CsvFileError,
    Record,
    display_field,
    read_blocks,
)
from snapshot_pipeline.platform.csv_files.values import (
    Kind,
    column_kind,
    convert_column,
    first_invalid,
    how_to_convert,
)
from snapshot_pipeline.platform.ownership import DuplicateKeyError, PlatformWriter, replace_platform
from snapshot_pipeline.platform.tables import platform_metadata

ProgressListener = Callable[[str, int, int], None]
"""Called with a table's name, the bytes of its file read so far, and its size: per block, and at the end."""

BLOCK_RECORDS = 20_000
"""Records that are converted and written at once, which bounds the memory."""


def load_csv_files(
    files: list[CsvFile], url: URL, schema: str, naive_zone: ZoneInfo, progress: ProgressListener | None = None
) -> dict[str, int]:
    """Replace the platform's tables by the files' rows, in one transaction; returns the rows loaded by table name.

    Args:
        files: The files from `find_csv_files`; an optional table without a file is absent afterwards.
        naive_zone: The zone of timestamps without an offset.

    Raises:
        CsvFileError: A file cannot be read, or has an invalid value or a duplicate key; nothing is changed.
        PlatformNotOursError: The schema has tables that the pipeline did not create; nothing is changed.
        PlatformWriteError: The database refuses; nothing is changed.
    """
    by_table = {file.table_name: file for file in files}
    tables = platform_metadata(schema).tables
    try:
        with replace_platform(url, schema, by_table) as writer:
            for file in files:
                _load_file(file, tables[f"{schema}.{file.table_name}"], writer, naive_zone, progress)
    except DuplicateKeyError as error:
        raise _duplicate_lines(by_table[error.table], error) or error from None
    return dict(writer.rows)


def _load_file(
    file: CsvFile, table: Table, writer: PlatformWriter, naive_zone: ZoneInfo, progress: ProgressListener | None
) -> None:
    kinds = {name: column_kind(table.columns[name], naive_zone) for name in file.columns}
    for records, bytes_read in read_blocks(file, BLOCK_RECORDS):
        if records:
            writer.append(table.name, _convert_block(records, file, table, kinds))
        if progress and bytes_read < file.size:
            progress(table.name, bytes_read, file.size)
    if progress:
        progress(table.name, file.size, file.size)


def _convert_block(block: list[Record], file: CsvFile, table: Table, kinds: dict[str, Kind]) -> pa.Table:
    """Convert the columns; of several invalid fields, the one in the first record is reported."""
    fields = list(zip(*(record for _, record in block), strict=True))
    columns, invalid = {}, []
    for name, kind in kinds.items():
        texts = pa.array(fields[file.columns[name]], pa.string())
        try:
            columns[name] = convert_column(texts, table.columns[name], kind)
        except pa.ArrowInvalid:
            invalid.append((first_invalid(texts, table.columns[name], kind), name))
    if not invalid:
        return pa.table(columns)
    position, name = min(invalid, key=lambda field: field[0])
    field = fields[file.columns[name]][position]
    problem = f"{display_field(field)} is not" if field.strip() else "is empty, expected"
    line = f"{file.path}, line {block[position][0]}, column {name}"
    conversion = how_to_convert(field, table.columns[name])
    raise CsvFileError(f"{line}: {problem} {kinds[name].expected}{conversion}")


def _duplicate_lines(file: CsvFile, duplicate: DuplicateKeyError) -> CsvFileError | None:
    """Return the error for the line that repeats the key; `None` when the server does not say which key it is."""
    match = re.search(r"\)=\((?P<values>[^)]*)\)", duplicate.detail)
    if not match:
        return None
    values = [int(value) for value in match["values"].split(", ")]
    key = ", ".join(f"{column} {value}" for column, value in zip(duplicate.columns, values, strict=True))
    records = chain.from_iterable(block for block, _ in read_blocks(file, BLOCK_RECORDS))
    positions = [file.columns[column] for column in duplicate.columns]
    lines = (line for line, fields in records if [int(fields[n].split(".")[0]) for n in positions] == values)
    first, second = next(lines), next(lines)
    return CsvFileError(f"{file.path}, line {second}: {key} is already in line {first}; remove one of the lines")
