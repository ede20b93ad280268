"""A platform from CSV files: six tables, each `NAME.csv` or `NAME.csv.gz`, loaded in bulk and all or nothing.

Python's `csv`, in its strict mode, splits a file into records and knows their lines; Arrow converts whole columns of a
block of records. A column that Arrow refuses is first rewritten to the usual spelling.

Accepted values:

* ids and other integers: `67`, `67.0`; ids within `bigint`, the others within `integer`;
* booleans: true, false, t, f, yes, no, y, n, 1, 0, in any case;
* timestamps: ISO 8601, with `T` or a space, with or without an offset or `Z`; without one, a local time of the zone
  that the caller names (an hour that occurs twice: the first; one that is skipped: its end, as in `reads`); a date
  alone is its midnight;
* scores: any number, including NaN and Infinity: an impossible score is data, and the nightly run reports it;
* text: anything without a NUL character.

Spaces around a value are ignored, except in text. An empty field is null where the column may be null; in a text column
that may not, it is the empty text. Empty lines are skipped. A field that begins with a quote ends with one and holds
others only doubled; elsewhere a quote is an ordinary character (`5" disk`).
"""

from snapshot_pipeline.platform.csv_files.files import OPTIONAL_COLUMNS, CsvFile, CsvFileError, find_csv_files
from snapshot_pipeline.platform.csv_files.loading import ProgressListener, load_csv_files

__all__ = ["OPTIONAL_COLUMNS", "CsvFile", "CsvFileError", "ProgressListener", "find_csv_files", "load_csv_files"]
