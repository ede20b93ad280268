"""A fault that was found in a block is found again in the file, to name its line.

Put here: the messages that name a line, a column, a field.
Do not put here: how faults are found in the first place (`blocks`, `values`, the database).
"""

from __future__ import annotations

import re

from snapshot_pipeline.platform.csv_files.files import CsvFile
from snapshot_pipeline.platform.csv_files.records import CsvFileError, read_records, readable_failure, shown
from snapshot_pipeline.platform.csv_files.values import whole_number
from snapshot_pipeline.platform.ownership import DuplicateKey


def bad_value(file: CsvFile, row: int, column: str, expected: str) -> CsvFileError:
    """The line of the field in `row` (counted from 0 after the header) of `column`."""
    with readable_failure(file.path):
        records = read_records(file.path)
        _, header = next(records)
        place = header.index(file.columns[column])
        for number, (line, record) in enumerate(records):
            if number == row:
                found = f"{shown(record[place])} is not" if record[place].strip() else "is empty, expected"
                return CsvFileError(f"{file.path}, line {line}, column {column}: {found} {expected}")
    return CsvFileError(f"{file.path}, row {row + 1} after the header, column {column}: expected {expected}")


def malformed(file: CsvFile, error: Exception) -> CsvFileError:
    """The line at which a file stops being a table, as Arrow only says that it does."""
    width = 0
    with readable_failure(file.path):
        for line, record in read_records(file.path):
            width = width or len(record)
            if len(record) != width:
                return CsvFileError(
                    f"{file.path}, line {line}: {len(record)} fields, but the header has {width}; a text that holds a "
                    "comma or a line break must stand in quotes"
                )
    return CsvFileError(f"{file.path} is not CSV: {' '.join(str(error).split())}")


def duplicate_key(file: CsvFile, duplicate: DuplicateKey) -> CsvFileError | None:
    """The line in which the key stands for the second time; none when the server did not say which key it is."""
    match = re.search(r"\)=\((?P<values>[^)]*)\)", duplicate.detail)
    if not match:
        return None
    wanted = [int(value) for value in match["values"].split(", ")]
    key = ", ".join(f"{column} {value}" for column, value in zip(duplicate.columns, wanted, strict=True))
    records = read_records(file.path)
    _, header = next(records)
    places = [header.index(file.columns[column]) for column in duplicate.columns]
    lines = (
        line for line, record in records if [whole_number(record[place].strip(), 63) for place in places] == wanted
    )
    first, second = next(lines), next(lines)
    return CsvFileError(f"{file.path}, line {second}: {key} stands in line {first} already; remove one of the lines")
