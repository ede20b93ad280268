"""Which files and columns are expected, and what a directory has of them.

Put here: names of files, headers, what may be absent. Do not put here: what stands below a header (`blocks`, `values`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from snapshot_pipeline.platform.csv_files.records import CsvFileError, read_records, readable_failure, shown
from snapshot_pipeline.platform.tables import OPTIONAL_TABLES, TABLE_NAMES, platform_metadata

OPTIONAL_COLUMNS = {
    "users": frozenset({"current_specialization", "current_level"}),
    "lessons": frozenset({"specialization_id", "level_id", "display_order"}),
    "quizzes": frozenset({"lesson_id", "title"}),
}
"""Columns that a file may lack; they are null then. Without them a recommendation may have nothing to say."""

_SUFFIXES = (".csv", ".csv.gz")


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


def _path_of(directory: Path, table_name: str) -> Path | None:
    paths = [path for suffix in _SUFFIXES if (path := directory / f"{table_name}{suffix}").exists()]
    if len(paths) > 1:
        raise CsvFileError(f"{directory} holds both {paths[0].name} and {paths[1].name}; remove one of them")
    return paths[0] if paths else None


def _read_header(path: Path, table_name: str) -> CsvFile:
    with readable_failure(path):
        records = read_records(path)
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
            f"{path}, line 1: the header ({shown(','.join(names))}) lacks {', '.join(missing)}; "
            f"expected {', '.join(table.columns.keys())}{separator}"
        )
    return CsvFile(
        path=path,
        table_name=table_name,
        columns={name: raw for name, raw in zip(names, header, strict=True) if name in table.columns},
        ignored=tuple(name for name in names if name not in table.columns),
        is_empty=is_empty,
    )
