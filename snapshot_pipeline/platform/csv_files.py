"""A platform from CSV files: six tables, each `NAME.csv` or `NAME.csv.gz`, loaded in bulk and all or nothing.

Put here: which files and columns are expected, how a field becomes a value, and how a bad one is found again.
Do not put here: how the tables are replaced (`ownership`), or what is printed (`cli.load`).

A file is read in blocks, each parsed and converted as Arrow columns, so millions of rows take seconds and no more
memory than one block. Only when a block is refused is its column converted value by value, which also accepts the rarer
spellings (`67.0` for 67, offsets and plain time stamps mixed), and only when that fails too is the file walked through
by Python's `csv`, to name the line. The fast way accepts nothing that the slow way would not.

What a field may be:

* ids and other whole numbers: `67`, `67.0`; ids within `bigint`, the others within `integer`;
* booleans: true, false, t, f, yes, no, y, n, 1, 0, in any case;
* time stamps: ISO 8601, with `T` or a space, with or without an offset or `Z`; without one it is a local time of the
  zone that the caller names (in an hour that comes twice: the first; in one that is skipped: its end, as `reads` has
  it); a date alone is its midnight;
* scores: any number, NaN and Infinity included, because a score that cannot be right is data: its student fails, by
  name and with the reason, when the day is computed;
* text: anything without a NUL character.

An empty field is null where the column may have one; in a text column that may not, it is the empty text. Lines
without any character are skipped.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
from sqlalchemy import URL, Column, Table

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.platform.ownership import (
    DuplicateKey,
    DuplicateKeyError,
    PlatformWriter,
    arrow_schema,
    replace_platform,
)
from snapshot_pipeline.platform.tables import OPTIONAL_TABLES, TABLE_NAMES, platform_metadata

OPTIONAL_COLUMNS = {
    "users": frozenset({"current_specialization", "current_level"}),
    "lessons": frozenset({"specialization_id", "level_id", "display_order"}),
    "quizzes": frozenset({"lesson_id", "title"}),
}
"""Columns that a file may lack; they are null then. Without them a recommendation may have nothing to say."""

Progress = Callable[[str, int, int], None]
"""Told the table, the bytes of its file that have been read, and how many it has; often, and with all of them once."""

_SUFFIXES = (".csv", ".csv.gz")
# Arrow reads some 30 blocks ahead, so a block is small, and several go to the database at a time.
_BLOCK_BYTES = 1024 * 1024
_BLOCKS_AT_A_TIME = 8
_END = "end of snapshot_pipeline's csv"
_GZIP_ERRORS = (gzip.BadGzipFile, EOFError, zlib.error)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_MOMENT_TYPE = pa.timestamp("us", tz="UTC")
# What Python's datetime can hold, in UTC; PostgreSQL could hold more, but nobody who reads it with Python.
_FIRST_MOMENT = (datetime.min.replace(tzinfo=timezone.utc) - _EPOCH) // _MICROSECOND
_LAST_MOMENT = (datetime.max.replace(tzinfo=timezone.utc) - _EPOCH) // _MICROSECOND
_MOMENT = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"(?:[T ](?P<hour>\d\d)(?::(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?)?"
    r" ?(?P<offset>Z|UTC|(?P<sign>[+-])(?P<hours>\d\d)(?::?(?P<minutes>\d\d))?)?)?",
    re.ASCII | re.IGNORECASE,
)
_INTEGER = re.compile(r"(?P<whole>[+-]?\d+)(?:\.0*)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_WORDS = {
    **dict.fromkeys(("true", "t", "yes", "y", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0"), False),
}


class CsvFileError(SnapshotPipelineError):
    """The directory, a file or a value in it cannot be loaded; the message names it, with line and column."""


@dataclass(frozen=True)
class CsvFile:
    """One table's file, its header read and found complete.

    Attributes:
        path: The file.
        table_name: The table it holds.
        columns: The header's spelling of each column that is loaded, by the column's name.
        ignored: The header's other columns.
        is_empty: Whether there is a header only.
    """

    path: Path
    table_name: str
    columns: dict[str, str]
    ignored: tuple[str, ...]
    is_empty: bool

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size


def find_csv_files(directory: Path) -> list[CsvFile]:
    """Find the tables' files and read their headers.

    Returns:
        One per table that is there, in the order of `TABLE_NAMES`; only an optional table may be missing.

    Raises:
        CsvFileError: The directory or a table is missing, a file cannot be read, or its header is not usable.
    """
    if not directory.is_dir():
        found = "is a file" if directory.exists() else "does not exist"
        raise CsvFileError(f"{directory} {found}; expected a directory with users.csv, lessons.csv and so on")
    paths = {name: _path_of(directory, name) for name in TABLE_NAMES}
    missing = [name for name in TABLE_NAMES if paths[name] is None and name not in OPTIONAL_TABLES]
    if missing:
        raise CsvFileError(
            f"{directory} holds no {', '.join(f'{name}.csv' for name in missing)}; expected {', '.join(TABLE_NAMES)}, "
            f"each as NAME.csv or NAME.csv.gz ({', '.join(sorted(OPTIONAL_TABLES))} may be absent)"
        )
    return [_read_header(path, name) for name, path in paths.items() if path is not None]


def load_csv_files(
    files: list[CsvFile], url: URL, schema: str, naive_zone: ZoneInfo, progress: Progress | None = None
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
        raise _duplicate_in_file(by_table[error.duplicate.table], error.duplicate) or error from None
    return dict(writer.rows)


def _path_of(directory: Path, table_name: str) -> Path | None:
    paths = [path for suffix in _SUFFIXES if (path := directory / f"{table_name}{suffix}").exists()]
    if len(paths) > 1:
        raise CsvFileError(f"{directory} holds both {paths[0].name} and {paths[1].name}; remove one of them")
    return paths[0] if paths else None


def _read_header(path: Path, table_name: str) -> CsvFile:
    with _readable_failure(path):
        records = _records(path)
        _, header = next(records, (0, []))
        is_empty = next(records, None) is None
    names = [name.strip() for name in header]
    if not any(names):
        raise CsvFileError(f"{path} is empty; expected a header line with the names of the columns")
    table = platform_metadata("public").tables[f"public.{table_name}"]
    twice = next((name for name in names if names.count(name) > 1 and name in table.columns), None)
    if twice:
        raise CsvFileError(f"{path}, line 1: the header names the column {twice} twice; remove one of them")
    optional = OPTIONAL_COLUMNS.get(table_name, frozenset())
    missing = [name for name in table.columns.keys() if name not in names and name not in optional]  # noqa: SIM118
    if missing:
        separator = ", separated by commas" if len(names) == 1 else ""
        raise CsvFileError(
            f"{path}, line 1: the header ({_shown(','.join(names))}) lacks {', '.join(missing)}; "
            f"expected {', '.join(table.columns.keys())}{separator}"
        )
    return CsvFile(
        path=path,
        table_name=table_name,
        columns={name: raw for name, raw in zip(names, header, strict=True) if name in table.columns},
        ignored=tuple(name for name in names if name not in table.columns),
        is_empty=is_empty,
    )


def _load_file(
    file: CsvFile, table: Table, writer: PlatformWriter, naive_zone: ZoneInfo, progress: Progress | None
) -> None:
    kinds = {name: _kind_of(table.columns[name], naive_zone) for name in file.columns}
    row_count = 0
    for block, bytes_read in _blocks(file):
        try:
            rows = _converted(block.rename_columns(list(file.columns)), table, kinds)
        except _BadValueError as bad:
            raise _at_line(file, row_count + bad.row, bad.column, kinds[bad.column].expected) from None
        writer.append(file.table_name, rows)
        row_count += rows.num_rows
        if progress and bytes_read < file.size:
            progress(file.table_name, bytes_read, file.size)
    if progress:
        progress(file.table_name, file.size, file.size)


# ---- Reading: blocks of text columns -----------------------------------------------------------------------------


class _CountedBytes(io.RawIOBase):
    """A file's bytes, unpacked; knows how far the packed file was read, and how many quotes went by."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._packed = path.open("rb")
        self._bytes = _unpacked(path, self._packed)
        self.quotes = 0

    @property
    def position(self) -> int:
        """Bytes of the file on disk that have been read."""
        return self._packed.tell()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._bytes.read(size)
        self.quotes += data.count(b'"')
        return data

    def close(self) -> None:
        self._bytes.close()
        self._packed.close()
        super().close()


def _unpacked(path: Path, packed: io.BufferedReader) -> io.BufferedReader | gzip.GzipFile:
    return gzip.GzipFile(fileobj=packed, mode="rb") if path.suffix == ".gz" else packed


def _blocks(file: CsvFile) -> Iterator[tuple[pa.Table, int]]:
    """The file's rows as tables of text columns, in the header's order of `file.columns`, and the bytes read so far.

    Raises:
        CsvFileError: The file cannot be read or is not CSV.
    """
    if file.is_empty:
        return
    raw_names = list(file.columns.values())
    with _readable_failure(file.path), _CountedBytes(file.path) as source:
        try:
            reader = _arrow_reader(source, raw_names)
            while batches := list(islice(reader, _BLOCKS_AT_A_TIME)):
                yield pa.Table.from_batches(batches), source.position
        except pa.ArrowInvalid as error:
            raise _malformed(file, error) from None
        # Arrow takes the end of the file for the end of a quoted field that nobody closed.
        if source.quotes % 2 and (line := _unclosed_quote(file.path)):
            raise CsvFileError(f"{file.path}, line {line}: a quoted field begins and never ends; close the quotes")


def _arrow_reader(source: _CountedBytes, names: list[str]) -> Any:
    return arrow_csv.open_csv(
        pa.PythonFile(source, mode="r"),
        arrow_csv.ReadOptions(block_size=_BLOCK_BYTES),
        arrow_csv.ParseOptions(newlines_in_values=True),
        arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=names,
            strings_can_be_null=True,
            null_values=[""],
            quoted_strings_can_be_null=False,
        ),
    )


# ---- Converting: text columns to the table's types ---------------------------------------------------------------


@dataclass(frozen=True)
class _Kind:
    """How the fields of a column become values.

    Attributes:
        expected: What an error message says that was expected.
        arrow_type: The type of the values.
        convert: All fields at once; raises `pa.ArrowInvalid` when one of them is not in the usual spelling.
        parse: One field, neither empty nor padded; raises `ValueError` or `OverflowError` when it is no value.
    """

    expected: str
    arrow_type: pa.DataType
    convert: Callable[[pa.Array], pa.Array]
    parse: Callable[[str], Any]


class _BadValueError(Exception):
    """The field in `row` (counted from 0 in its block) of `column` is no value."""

    def __init__(self, row: int, column: str) -> None:
        super().__init__(row, column)
        self.row = row
        self.column = column


def _kind_of(column: Column[Any], naive_zone: ZoneInfo) -> _Kind:
    arrow_type = arrow_schema(column.table).field(column.name).type
    if pa.types.is_integer(arrow_type):
        bits = arrow_type.bit_width - 1
        return _Kind(
            f"a whole number from {-(2**bits)} to {2**bits - 1}",
            arrow_type,
            partial(_integers, arrow_type=arrow_type),
            partial(_integer, bits=bits),
        )
    if pa.types.is_boolean(arrow_type):
        return _Kind("true or false", arrow_type, _booleans, _boolean)
    if pa.types.is_timestamp(arrow_type):
        expected = "a time stamp such as 2025-03-01T18:30:00+01:00"
        return _Kind(
            expected, arrow_type, partial(_moments, naive_zone=naive_zone), partial(_moment, naive_zone=naive_zone)
        )
    if pa.types.is_floating(arrow_type):
        return _Kind("a number", arrow_type, lambda fields: pc.cast(fields, arrow_type), _number)
    return _Kind("text without NUL characters", arrow_type, _texts, _text)


def _converted(block: pa.Table, table: Table, kinds: dict[str, _Kind]) -> pa.Table:
    """The block's columns as values.

    Raises:
        _BadValueError: For the first row that holds a bad value.
    """
    columns, bad_values = {}, []
    for name, kind in kinds.items():
        try:
            columns[name] = _converted_column(block.column(name).combine_chunks(), table.columns[name], kind)
        except _BadValueError as bad:
            bad_values.append(bad)
    if bad_values:
        raise min(bad_values, key=lambda bad: bad.row)
    return pa.table(columns)


def _converted_column(fields: pa.Array, column: Column[Any], kind: _Kind) -> pa.Array:
    try:
        values = kind.convert(fields)
    except pa.ArrowInvalid:
        values = _one_by_one(fields, column.name, kind)
    if not column.nullable and values.null_count:
        if not pa.types.is_string(kind.arrow_type):
            raise _BadValueError(pc.index(pc.is_null(values), True).as_py(), column.name)
        values = pc.fill_null(values, "")
    return values


def _one_by_one(fields: pa.Array, column: str, kind: _Kind) -> pa.Array:
    values = []
    for row, field in enumerate(fields.to_pylist()):
        stripped = (field or "").strip()
        try:
            values.append(kind.parse(stripped) if stripped else None)
        except (ValueError, OverflowError):
            raise _BadValueError(row, column) from None
    return pa.array(values, kind.arrow_type)


def _integers(fields: pa.Array, arrow_type: pa.DataType) -> pa.Array:
    # Arrow would read 0x10 as 16.
    if pc.any(pc.match_substring(fields, "x", ignore_case=True)).as_py():
        raise pa.ArrowInvalid("not decimal")
    return pc.cast(fields, arrow_type)


def _integer(field: str, bits: int) -> int:
    match = _INTEGER.fullmatch(field)
    if not match or not -(2**bits) <= (value := int(match["whole"])) < 2**bits:
        raise ValueError(field)
    return value


def _booleans(fields: pa.Array) -> pa.Array:
    places = pc.index_in(pc.utf8_lower(fields), value_set=pa.array(_WORDS))
    if places.null_count > fields.null_count:
        raise pa.ArrowInvalid("not a known word")
    return pc.take(pa.array(_WORDS.values()), places)


def _boolean(field: str) -> bool:
    if field.lower() not in _WORDS:
        raise ValueError(field)
    return _WORDS[field.lower()]


def _moments(fields: pa.Array, naive_zone: ZoneInfo) -> pa.Array:
    try:
        moments = pc.cast(fields, _MOMENT_TYPE)
    except pa.ArrowInvalid:
        moments = _localized(pc.cast(fields, pa.timestamp("us")), naive_zone)
    extremes = pc.min_max(moments.cast(pa.int64())).as_py()
    if extremes["min"] is not None and not _FIRST_MOMENT <= extremes["min"] <= extremes["max"] <= _LAST_MOMENT:
        raise pa.ArrowInvalid("not in the years 1 to 9999")
    return moments


def _localized(local: pa.Array, zone: ZoneInfo) -> pa.Array:
    if zone.key == "UTC":
        return pc.cast(local, _MOMENT_TYPE)
    # pandas, because Arrow needs the machine's zone database, which Windows and slim containers lack.
    clock = pd.DatetimeIndex(local.to_pandas()).as_unit("us")
    moments = clock.tz_localize(zone, ambiguous=np.ones(len(clock), dtype=bool), nonexistent="shift_forward")
    return pa.array(moments.tz_convert("UTC"), _MOMENT_TYPE)


def _moment(field: str, naive_zone: ZoneInfo) -> int:
    """Microseconds since 1970 UTC."""
    match = _MOMENT.fullmatch(field)
    if not match:
        raise ValueError(field)
    year, month, day, hour, minute, second = (
        int(match[part] or 0) for part in ("year", "month", "day", "hour", "minute", "second")
    )
    microsecond = int((match["fraction"] or "")[:6].ljust(6, "0"))
    zone = _offset(match) if match["offset"] else timezone.utc
    moment = datetime(year, month, day, hour, minute, second, microsecond, zone)
    if not match["offset"]:
        local = pa.array([moment.replace(tzinfo=None)], pa.timestamp("us"))
        moment = _localized(local, naive_zone)[0].as_py()
    microseconds = (moment - _EPOCH) // _MICROSECOND
    if not _FIRST_MOMENT <= microseconds <= _LAST_MOMENT:
        raise ValueError(field)
    return microseconds


def _offset(match: re.Match[str]) -> timezone:
    ahead = timedelta(hours=int(match["hours"] or 0), minutes=int(match["minutes"] or 0))
    return timezone(-ahead if match["sign"] == "-" else ahead)


def _number(field: str) -> float:
    if not _NUMBER.fullmatch(field):
        raise ValueError(field)
    return float(field)


def _texts(fields: pa.Array) -> pa.Array:
    if pc.any(pc.match_substring(fields, "\0")).as_py():
        raise pa.ArrowInvalid("NUL")
    return fields


def _text(field: str) -> str:
    if "\0" in field:
        raise ValueError(field)
    return field


# ---- Finding a fault again, to name its line ---------------------------------------------------------------------


@contextmanager
def _readable_failure(path: Path) -> Iterator[None]:
    """Turns what opening, unpacking and decoding `path` may raise into one line."""
    try:
        yield
    except _GZIP_ERRORS as error:
        raise CsvFileError(
            f"{path} is not a whole gzip file ({error}); expected one made by gzip: export or copy it again"
        ) from None
    except UnicodeDecodeError:
        raise _not_utf8(path) from None
    except OSError as error:
        raise CsvFileError(f"{path} cannot be read: {error.strerror or error}") from None
    except csv.Error as error:
        raise CsvFileError(f"{path} is not CSV: {error}") from None


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as packed, io.TextIOWrapper(_unpacked(path, packed), "utf-8-sig", newline="") as lines:
        for line in lines:
            # Python 3.10's csv refuses NUL characters; here they only have to be shown.
            yield line.replace("\0", "\\0")


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The records as Python's csv sees them, the header included, each with the line in which it begins."""
    reader = csv.reader(_lines(path))
    line = 1
    for record in reader:
        if record:
            yield line, record
        line = reader.line_num + 1


def _at_line(file: CsvFile, row: int, column: str, expected: str) -> CsvFileError:
    with _readable_failure(file.path):
        records = _records(file.path)
        _, header = next(records)
        place = header.index(file.columns[column])
        for number, (line, record) in enumerate(records):
            if number == row:
                found = f"{_shown(record[place])} is not" if record[place].strip() else "is empty, expected"
                return CsvFileError(f"{file.path}, line {line}, column {column}: {found} {expected}")
    return CsvFileError(f"{file.path}, row {row + 1} after the header, column {column}: expected {expected}")


def _malformed(file: CsvFile, error: Exception) -> CsvFileError:
    line, width = 1, 0
    with _readable_failure(file.path):
        try:
            for line, record in _records(file.path):
                width = width or len(record)
                if len(record) != width:
                    return CsvFileError(
                        f"{file.path}, line {line}: {len(record)} fields, but the header has {width}; a text that "
                        "holds a comma or a line break must stand in quotes"
                    )
        except csv.Error:
            # The field after the last good record is longer than csv takes: a quote that is not closed.
            return CsvFileError(f"{file.path}, after line {line}: a quoted field begins and does not end")
    return CsvFileError(f"{file.path} is not CSV: {' '.join(str(error).split())}")


def _unclosed_quote(path: Path) -> int | None:
    """The line in which the quoted field begins that is still open at the end of the file, if there is one."""
    line = 1
    # A record of its own after the end; an open quote swallows it.
    reader = csv.reader(chain(_lines(path), ["\n", _END]))
    for record in reader:
        if record == [_END]:
            return None
        if any(_END in field for field in record):
            return line
        line = reader.line_num + 1
    return None


def _duplicate_in_file(file: CsvFile, duplicate: DuplicateKey) -> CsvFileError | None:
    """The line in which the key stands for the second time; none when the server did not say which key it is."""
    match = re.search(r"\)=\((?P<values>[^)]*)\)", duplicate.detail)
    if not match:
        return None
    wanted = [int(value) for value in match["values"].split(", ")]
    key = ", ".join(f"{column} {value}" for column, value in zip(duplicate.columns, wanted, strict=True))
    records = _records(file.path)
    _, header = next(records)
    places = [header.index(file.columns[column]) for column in duplicate.columns]
    lines = (line for line, record in records if [_integer(record[place].strip(), 63) for place in places] == wanted)
    first, second = next(lines), next(lines)
    return CsvFileError(f"{file.path}, line {second}: {key} stands in line {first} already; remove one of the lines")


def _not_utf8(path: Path) -> CsvFileError:
    with path.open("rb") as packed:
        if path.suffix != ".gz" and packed.read(2) == b"\x1f\x8b":
            return CsvFileError(f"{path} is packed with gzip; name it {path.name}.gz")
        packed.seek(0)
        for number, line in enumerate(_unpacked(path, packed), 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = f"0x{line[error.start]:02x}"
                return CsvFileError(f"{path}, line {number}: the byte {byte} is not UTF-8; save the file as UTF-8")
    return CsvFileError(f"{path} is not UTF-8; save the file as UTF-8")


def _shown(field: str, longest: int = 80) -> str:
    return repr(field if len(field) <= longest else field[:longest] + "…")
