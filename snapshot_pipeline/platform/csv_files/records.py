"""A file as text: unpacked, decoded, and cut into records by Python's `csv`, in its strict mode.

Put here: what is told of a file that cannot be read, is not UTF-8, or is not CSV.
Do not put here: the fast reading (`blocks`), or what a field means (`values`).

This is slow (a million records take a second or two), and so only for headers, for files whose quotes look odd
(`quotes`), and for naming the line of a fault (`locating`).
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snapshot_pipeline.errors import SnapshotPipelineError

_GZIP_ERRORS = (gzip.BadGzipFile, EOFError, zlib.error)


class CsvFileError(SnapshotPipelineError):
    """The directory, a file or a value in it cannot be loaded; the message names it, with line and column."""

    quotes_rows = True


def unpacked(path: Path, packed: io.BufferedReader) -> io.BufferedReader | gzip.GzipFile:
    """The bytes of the CSV, whatever the file is packed with."""
    return gzip.GzipFile(fileobj=packed, mode="rb") if path.suffix == ".gz" else packed


@contextmanager
def readable_failure(path: Path) -> Iterator[None]:
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


def read_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The records of a file, the header included, each with the line in which it begins.

    Raises:
        CsvFileError: A quoted field does not end, or goes on after its end.
    """
    reader = csv.reader(_lines(path), strict=True)
    line = 1
    while True:
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise CsvFileError(f"{path}, line {line}: {_quoting_fault(error, reader.line_num)}") from None
        if record is None:
            return
        if record:
            yield line, record
        line = reader.line_num + 1


def _quoting_fault(error: csv.Error, line: int) -> str:
    """What `csv` has to say about the record that ends, or should have ended, in `line`."""
    if "end of data" in str(error):
        return "a quoted field begins and never ends; close the quotes"
    if "expected after" in str(error):
        return (
            f"a quoted field goes on after its closing quote in line {line}; close it where its text ends, and write "
            "a quote inside the text twice"
        )
    return f"{error}; is there a quoted field that nobody closed?"


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as packed, io.TextIOWrapper(unpacked(path, packed), "utf-8-sig", newline="") as lines:
        for line in lines:
            # Python 3.10's csv refuses NUL characters; here they only have to be shown.
            yield line.replace("\0", "\\0")


def _not_utf8(path: Path) -> CsvFileError:
    with path.open("rb") as packed:
        if path.suffix != ".gz" and packed.read(2) == b"\x1f\x8b":
            return CsvFileError(f"{path} is packed with gzip; name it {path.name}.gz")
        packed.seek(0)
        for number, line in enumerate(unpacked(path, packed), 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = f"0x{line[error.start]:02x}"
                return CsvFileError(f"{path}, line {number}: the byte {byte} is not UTF-8; save the file as UTF-8")
    return CsvFileError(f"{path} is not UTF-8; save the file as UTF-8")


def shown(field: str, longest: int = 80) -> str:
    """A field as it stands in a message: quoted, on one line, not too long."""
    return repr(field if len(field) <= longest else field[:longest] + "…")
