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
without any character are skipped. A field that begins with a quote ends with one, and holds others only doubled;
elsewhere a quote is a character like any other (`5" disk`).
"""

from snapshot_pipeline.platform.csv_files.files import OPTIONAL_COLUMNS, CsvFile, find_csv_files
from snapshot_pipeline.platform.csv_files.loading import ProgressListener, load_csv_files
from snapshot_pipeline.platform.csv_files.records import CsvFileError

__all__ = ["OPTIONAL_COLUMNS", "CsvFile", "CsvFileError", "ProgressListener", "find_csv_files", "load_csv_files"]
