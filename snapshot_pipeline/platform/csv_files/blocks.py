"""A file in blocks of text columns, parsed by Arrow.

Put here: the fast way through a file, and how far it has come.
Do not put here: what the texts mean (`values`), or the slow way, line by line (`records`).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv

from snapshot_pipeline.platform.csv_files.files import CsvFile
from snapshot_pipeline.platform.csv_files.locating import malformed
from snapshot_pipeline.platform.csv_files.quotes import QuoteWatch
from snapshot_pipeline.platform.csv_files.records import read_records, readable_failure, unpacked

# Arrow reads some 30 blocks ahead, so a block is small, and several go to the database at a time.
_BLOCK_BYTES = 1024 * 1024
_BLOCKS_AT_A_TIME = 8


def blocks_of(file: CsvFile) -> Iterator[tuple[pa.Table, int]]:
    """The file's rows as tables of text columns, in the header's order of `file.columns`, and the bytes read so far.

    Raises:
        CsvFileError: The file cannot be read or is not CSV.
    """
    if file.is_empty:
        return
    raw_names = list(file.columns.values())
    with readable_failure(file.path), _CountedBytes(file.path) as source:
        try:
            reader = _arrow_reader(source, raw_names)
            while batches := list(islice(reader, _BLOCKS_AT_A_TIME)):
                yield pa.Table.from_batches(batches), source.position
        except pa.ArrowInvalid as error:
            raise malformed(file, error) from None
        if source.quotes.has_doubts():
            for _ in read_records(file.path):
                pass  # raises where a quoted field does not end as it should


class _CountedBytes(io.RawIOBase):
    """A file's bytes, unpacked; knows how far the packed file was read, and what its quotes are like."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._packed = path.open("rb")
        self._bytes = unpacked(path, self._packed)
        self.quotes = QuoteWatch()

    @property
    def position(self) -> int:
        """Bytes of the file on disk that have been read."""
        return self._packed.tell()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._bytes.read(size)
        self.quotes.see(data)
        return data

    def close(self) -> None:
        self._bytes.close()
        self._packed.close()
        super().close()


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
