"""The files of a directory, their headers, and their records as text with line numbers."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.platform.tables import OPTIONAL_TABLES, TABLE_NAMES, platform_metadata

OPTIONAL_COLUMNS = {
    "users": frozenset({"current_specialization", "current_level"}),
    "lessons": frozenset({"specialization_id", "level_id", "display_order"}),
    "quizzes": frozenset({"lesson_id", "title"}),
}
"""Columns that a file may lack; they are null then, and recommendations that need them are not made."""

_SUFFIXES = (".csv", ".csv.gz")

# Python's default is 128 KiB; a limit ends the search for the end of a quoted field that is not closed.
csv.field_size_limit(16 * 1024 * 1024)


Record = tuple[int, list[str]]
"""The number of a record's first line, and its fields."""


class CsvFileError(SnapshotPipelineError):
    """The directory, a file or a value in it cannot be loaded; the message names it, with line and column."""

    quotes_rows = True


@dataclass(frozen=True)
class CsvFile:
    """The file of a table, with a valid header.

    Attributes:
        columns: The position of each column that is loaded, by the column's name.
        ignored: The header's other columns.
    """

    path: Path
    table_name: str
    columns: dict[str, int]
    ignored: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size


def find_csv_files(directory: Path) -> list[CsvFile]:
    """Return the files of the tables in the order of `TABLE_NAMES`; only an optional table may be absent.

    Raises:
        CsvFileError: The directory or a table is missing, a file cannot be read, or its header is not valid.
    """
    if not directory.is_dir():
        problem = "is a file" if directory.exists() else "does not exist"
        raise CsvFileError(f"{directory} {problem}; expected a directory with users.csv, lessons.csv and so on")
    paths = {name: _find_path(directory, name) for name in TABLE_NAMES}
    missing = [name for name in TABLE_NAMES if paths[name] is None and name not in OPTIONAL_TABLES]
    if missing:
        raise CsvFileError(
            f"{directory} has no {', '.join(f'{name}.csv' for name in missing)}; expected {', '.join(TABLE_NAMES)}, "
            f"each as NAME.csv or NAME.csv.gz ({', '.join(sorted(OPTIONAL_TABLES))} may be absent)"
        )
    return [_read_header(path, name) for name, path in paths.items() if path is not None]


def _find_path(directory: Path, table_name: str) -> Path | None:
    paths = [path for suffix in _SUFFIXES if (path := directory / f"{table_name}{suffix}").exists()]
    if len(paths) > 1:
        raise CsvFileError(f"{directory} has both {paths[0].name} and {paths[1].name}; remove one of them")
    return paths[0] if paths else None


def _read_header(path: Path, table_name: str) -> CsvFile:
    header, _ = next(_read_blocks(path, 1), ([(1, [])], 0))
    names = [name.strip() for name in header[0][1]]
    if not any(names):
        raise CsvFileError(f"{path} is empty; expected a header line with the names of the columns")
    known = list(platform_metadata("public").tables[f"public.{table_name}"].columns.keys())
    duplicate = next((name for name in names if names.count(name) > 1 and name in known), None)
    if duplicate:
        raise CsvFileError(f"{path}, line 1: the header has the column {duplicate} twice; remove one of them")
    optional = OPTIONAL_COLUMNS.get(table_name, frozenset())
    missing = [name for name in known if name not in names and name not in optional]
    if missing:
        separator = ", separated by commas" if len(names) == 1 else ""
        raise CsvFileError(
            f"{path}, line 1: the header ({display_field(','.join(names))}) lacks {', '.join(missing)}; "
            f"expected {', '.join(known)}{separator}"
        )
    columns = {name: position for position, name in enumerate(names) if name in known}
    return CsvFile(path, table_name, columns, tuple(name for name in names if name not in known))


def read_blocks(file: CsvFile, records: int) -> Iterator[tuple[list[Record], int]]:
    """Yield up to so many records below the header at a time, with the bytes of the file read so far.

    Raises:
        CsvFileError: The file cannot be read, is not UTF-8, or is not CSV with as many fields in each record.
    """
    blocks = _read_blocks(file.path, records)
    header_and_records, bytes_read = next(blocks)
    yield header_and_records[1:], bytes_read
    yield from blocks


def _read_blocks(path: Path, records: int) -> Iterator[tuple[list[Record], int]]:
    try:
        with path.open("rb") as source:
            data = gzip.GzipFile(fileobj=source, mode="rb") if path.suffix == ".gz" else source
            text = io.TextIOWrapper(data, "utf-8-sig", "surrogateescape", newline="")
            reader = _read_records(path, text)
            while block := list(islice(reader, records)):
                yield block, source.tell()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CsvFileError(f"{path} is not a complete gzip file ({error}); export or copy it again") from None
    except OSError as error:
        raise CsvFileError(f"{path} cannot be read: {error.strerror or error}") from None


def _read_records(path: Path, text: io.TextIOWrapper) -> Iterator[Record]:
    reader = csv.reader(_check_lines(path, text), strict=True)
    line, width = 1, 0
    try:
        for fields in reader:
            width = width or len(fields)
            if len(fields) == width:
                yield line, fields
            elif fields:
                raise CsvFileError(
                    f"{path}, line {line}: {len(fields)} fields, but the header has {width}; a text that contains a "
                    "comma or a line break must be quoted"
                )
            line = reader.line_num + 1
    except csv.Error as error:
        raise CsvFileError(f"{path}, line {line}: {_quote_error(error, reader.line_num)}") from None


def _check_lines(path: Path, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if not line.isascii() and (byte := re.search("[\udc80-\udcff]", line)):
            if line.startswith("\x1f\udc8b"):
                raise CsvFileError(f"{path} is compressed with gzip; rename it to {path.name}.gz")
            code = f"0x{ord(byte[0]) - 0xDC00:02x}"
            raise CsvFileError(f"{path}, line {number}: the byte {code} is not UTF-8; save the file as UTF-8")
        if "\0" in line:
            raise CsvFileError(f"{path}, line {number}: a NUL character is not text; remove it")
        yield line


def _quote_error(error: csv.Error, line: int) -> str:
    if "end of data" in str(error):
        return "a quoted field is never closed; add the closing quote"
    if "expected after" in str(error):
        return (
            f"a quoted field goes on after its closing quote in line {line}; close it where its text ends, and double "
            "a quote inside the text"
        )
    return f"{error}; is there a quoted field that is not closed?"


def display_field(field: str) -> str:
    """Return a field for a message: quoted, on one line, truncated."""
    return repr(field if len(field) <= 80 else field[:80] + "…")
