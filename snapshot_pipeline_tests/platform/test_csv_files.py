"""CSV files become the platform's tables exactly, and a wrong field is reported with its file, line and column."""

from __future__ import annotations

import csv
import gzip
import math
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import URL, create_engine, inspect, text

from snapshot_pipeline.platform.csv_files import CsvFileError, find_csv_files, load_csv_files, loading
from snapshot_pipeline.platform.ownership import PlatformNotOursError
from snapshot_pipeline.platform.tables import TABLE_NAMES

REAL_PLATFORM = Path(__file__).parents[3] / "shared" / "data" / "oulad_ccc_2014b"
UTC = ZoneInfo("UTC")
Write = Callable[..., Path]


@pytest.fixture
def loading_url(module_database_url: URL) -> URL:
    """One database for all tests of this file: every load replaces what was there, or leaves it."""
    return module_database_url


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a small platform, with the files given by name in place of its own; None: without that file."""
    platform: dict[str, str | bytes | None] = {
        "users.csv": "id,role,is_active\n1,student,true\n",
        "lessons.csv": "id,title,is_published\n1,One,true\n",
        "user_lesson_progress.csv": "user_id,lesson_id,started_at,completed_at,time_spent_minutes\n",
        "quizzes.csv": "id\n",
        "quiz_attempts.csv": "id,user_id,quiz_id,score,completed_at\n",
    }

    def write(**files: str | bytes | None) -> Path:
        for name, content in {**platform, **{f"{name}.csv": content for name, content in files.items()}}.items():
            if content is not None:
                (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path

    return write


def _load(directory: Path, url: URL, zone: ZoneInfo = UTC) -> dict[str, int]:
    return load_csv_files(find_csv_files(directory), url, "public", zone)


def _select(url: URL, query: str) -> list[tuple[Any, ...]]:
    engine = create_engine(url)
    with engine.connect() as connection:
        connection.execute(text("SET TIME ZONE 'UTC'"))
        rows = [tuple(row) for row in connection.execute(text(query))]
    engine.dispose()
    return rows


def _error(directory: Path, url: URL) -> str:
    with pytest.raises(CsvFileError) as error:
        _load(directory, url)
    message = str(error.value)
    assert "\n" not in message
    return message.removeprefix(f"{directory}/")


# ---- What is loaded ----------------------------------------------------------------------------------------------


def test_every_row_of_the_public_data_set_arrives(loading_url: URL) -> None:
    if not REAL_PLATFORM.is_dir():
        pytest.skip(f"the public data set is not on this machine ({REAL_PLATFORM})")
    rows = _load(REAL_PLATFORM, loading_url)
    assert set(rows) == {name for name in TABLE_NAMES if (REAL_PLATFORM / f"{name}.csv.gz").exists()}
    for name, count in rows.items():
        with gzip.open(REAL_PLATFORM / f"{name}.csv.gz", "rt", newline="") as lines:
            wanted = list(csv.DictReader(lines))
        assert count == len(wanted)
        assert _select(loading_url, f"SELECT count(*) FROM {name}") == [(len(wanted),)]  # noqa: S608
    with gzip.open(REAL_PLATFORM / "quiz_attempts.csv.gz", "rt", newline="") as lines:
        scores = sum(float(row["score"]) for row in csv.DictReader(lines) if row["score"])
    assert _select(loading_url, "SELECT sum(score) FROM quiz_attempts") == [(scores,)]


def test_columns_are_found_by_name_in_any_order_and_others_are_left_out(write: Write, loading_url: URL) -> None:
    directory = write(users="email,is_active,id, role ,current_level\na@b,no,7,TEACHER,3\n")
    users = find_csv_files(directory)[0]
    assert users.ignored == ("email",)
    assert _load(directory, loading_url)["users"] == 1
    assert _select(loading_url, "SELECT * FROM users") == [(7, "TEACHER", False, None, "3")]


WORDS = {"True": True, "FALSE": False, "t": True, "f": False, "1": True, "0": False, "yes": True, " No ": False}


def test_booleans_are_read_in_the_usual_spellings(write: Write, loading_url: URL) -> None:
    rows = "".join(f"{number},student,{word}\n" for number, word in enumerate(WORDS))
    _load(write(users=f"id,role,is_active\n{rows}"), loading_url)
    loaded = [is_active for (is_active,) in _select(loading_url, "SELECT is_active FROM users ORDER BY id")]
    assert loaded == list(WORDS.values())


MOMENTS = {
    "2024-03-31T12:00:00+02:00": (10, 0, 0),
    "2024-03-31 12:00:00+0230": (9, 30, 0),
    "2024-03-31 12:00:00-05": (17, 0, 0),
    "2024-03-31T12:00:00Z": (12, 0, 0),
    "2024-03-31 12:00:00 UTC": (12, 0, 0),
    "2024-03-31T12:00:00.123456789Z": (12, 0, 0, 123456),
    # Without an offset, in Budapest on the day on which the clock goes from 2 to 3.
    "2024-03-31 12:00": (10, 0, 0),
    "2024-03-31 02:30:00": (1, 0, 0),
    "2024-03-31T01:59:59.5": (0, 59, 59, 500000),
}


@pytest.mark.parametrize(
    "chosen", [slice(0, 4), slice(6, 9), slice(0, 9)], ids=["all with an offset", "none with an offset", "mixed"]
)
def test_timestamps_in_every_spelling_become_the_same_instants(write: Write, loading_url: URL, chosen: slice) -> None:
    moments = dict(list(MOMENTS.items())[chosen])
    rows = "".join(f"{number},1,1,,{moment}\n" for number, moment in enumerate(moments))
    directory = write(quiz_attempts=f"id,user_id,quiz_id,score,completed_at\n{rows}")
    _load(directory, loading_url, ZoneInfo("Europe/Budapest"))
    loaded = [moment for (moment,) in _select(loading_url, "SELECT completed_at FROM quiz_attempts ORDER BY id")]
    assert loaded == [datetime(2024, 3, 31, *parts, tzinfo=timezone.utc) for parts in moments.values()]


def test_local_time_that_occurs_twice_is_the_first(write: Write, loading_url: URL) -> None:
    header = "id,user_id,quiz_id,score,completed_at\n"
    _load(write(quiz_attempts=f"{header}1,1,1,,2024-10-27 02:30\n"), loading_url, ZoneInfo("Europe/Budapest"))
    assert _select(loading_url, "SELECT completed_at FROM quiz_attempts") == [
        (datetime(2024, 10, 27, 0, 30, tzinfo=timezone.utc),)
    ]


def test_impossible_scores_are_loaded(write: Write, loading_url: URL) -> None:
    scores = ["92.5", "", "NaN", "-Infinity", "130", "inf", " 7 ", "+1e1"]
    rows = "".join(f"{number},1,1,{score},\n" for number, score in enumerate(scores))
    _load(write(quiz_attempts=f"id,user_id,quiz_id,score,completed_at\n{rows}"), loading_url)
    scores = [score for (score,) in _select(loading_url, "SELECT score FROM quiz_attempts ORDER BY id")]
    assert math.isnan(scores.pop(2))
    assert scores == [92.5, None, -math.inf, 130, math.inf, 7, 10]


def test_integers_with_a_decimal_point_are_read(write: Write, loading_url: URL) -> None:
    _load(write(quizzes='id,lesson_id,title\n1,730065.0,a\n2,,\n-9223372036854775808,"",\n'), loading_url)
    assert _select(loading_url, "SELECT id, lesson_id FROM quizzes ORDER BY id") == [
        (-(2**63), None),
        (1, 730065),
        (2, None),
    ]


def test_quoted_commas_quotes_and_line_breaks_are_part_of_the_text(write: Write, loading_url: URL) -> None:
    lessons = 'id,title,is_published\r\n1,"a, ""b""\nc",true\r\n\r\n2,5" disks,true\r\n3,,true'
    assert _load(write(lessons=lessons), loading_url)["lessons"] == 3
    assert _select(loading_url, "SELECT title FROM lessons ORDER BY id") == [('a, "b"\nc',), ('5" disks',), ("",)]


def test_byte_order_mark_is_not_part_of_the_first_name(write: Write, loading_url: URL) -> None:
    _load(write(quizzes=b"\xef\xbb\xbfid,title\n1,\xc3\xa9t\xc3\xa9\n"), loading_url)
    assert _select(loading_url, "SELECT title FROM quizzes") == [("été",)]


def test_platform_without_exercises_has_no_table_of_exercises(write: Write, loading_url: URL) -> None:
    with_exercises = write(exercise_submissions="id,user_id,created_at\n1,1,2024-01-01\n")
    assert _load(with_exercises, loading_url)["exercise_submissions"] == 1
    (with_exercises / "exercise_submissions.csv").unlink()
    assert "exercise_submissions" not in _load(with_exercises, loading_url)
    engine = create_engine(loading_url)
    assert "exercise_submissions" not in inspect(engine).get_table_names()
    engine.dispose()


def test_files_of_many_blocks_are_complete_and_report_progress(
    write: Write, loading_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "BLOCK_RECORDS", 1_000)
    rows = "".join(f'{number},"title\n{number}"\n' for number in range(20_000))
    updates: list[tuple[str, int, int]] = []
    files = find_csv_files(write(quizzes=f"id,title\n{rows}"))
    load_csv_files(files, loading_url, "public", UTC, lambda *update: updates.append(update))
    assert _select(loading_url, "SELECT count(DISTINCT title) FROM quizzes") == [(20_000,)]
    of_quizzes = [done for name, done, _ in updates if name == "quizzes"]
    assert len(of_quizzes) > 5, "a progress bar would jump"
    assert of_quizzes == sorted(of_quizzes)
    assert of_quizzes[-1] == (files[3].path).stat().st_size


# ---- What is refused ---------------------------------------------------------------------------------------------

BAD_VALUES = [
    ("users", "id,role,is_active\n1,s,true\nabc,s,true\n", "users.csv, line 3, column id: 'abc' is not an integer"),
    ("users", "id,role,is_active\n0x10,s,true\n", "users.csv, line 2, column id: '0x10' is not an integer"),
    ("users", "id,role,is_active\n1.5,s,true\n", "users.csv, line 2, column id: '1.5' is not an integer"),
    ("users", "id,role,is_active\n9223372036854775808,s,t\n", "column id: '9223372036854775808' is not an integer"),
    ("users", "id,role,is_active\n,s,true\n", "users.csv, line 2, column id: is empty, expected an integer"),
    ("users", "id,role,is_active\n1,s,true\n2,s,\n", "users.csv, line 3, column is_active: is empty, expected true or"),
    ("users", "id,role,is_active\n1,s,maybe\n", "users.csv, line 2, column is_active: 'maybe' is not true or false"),
    ("users", "role,is_active,id\ns,x,1\ns,true,y\n", "users.csv, line 2, column is_active: 'x' is not true or false"),
    ("lessons", 'id,title,is_published\n1,"a\n\nb",t\n\n2,c,u\n', "lessons.csv, line 6, column is_published: 'u'"),
    ("lessons", "id,title,is_published\r1,a,t\r2,c,u\r", "lessons.csv, line 3, column is_published: 'u'"),
    (
        "users",
        "id,role,is_active\n7d9f4a3e-0c6e-4a55-9d55-6f6d8c7c2f10,s,t\n",
        "; ids are numbers: number UUIDs and texts, the same way in every file",
    ),
    ("quizzes", "id,lesson_id,title\n1,NULL,a\n", "; for no value leave the field empty"),
    ("users", "id,role,is_active\n\\N,s,t\n", "; the column needs a value"),
    (
        "exercise_submissions",
        "id,user_id,created_at\n1,1,1700000000\n",
        "; if it counts seconds since 1970, write 2023-11-14T22:13:20Z",
    ),
    (
        "exercise_submissions",
        "id,user_id,created_at\n1,1,1700000000000\n",
        "; if it counts milliseconds since 1970, write 2023-11-14T22:13:20Z",
    ),
    ("quizzes", "id,title\n1,a\n2,b\0c\n", "quizzes.csv, line 3: a NUL character is not text; remove it"),
]
BAD_MOMENTS = ["yesterday", "2024-02-30 10:00", "2024-01-01T25:00:00Z", "0000-00-00 00:00:00", "0000-01-01T00:00Z"]
BAD_MOMENTS += ["01/02/2024", "1700000000", "NULL", "infinity", "0001-01-01T00:00:00+05:00", "9999-12-31T23:00-05:00"]


@pytest.mark.parametrize(("table", "content", "message"), BAD_VALUES)
def test_invalid_value_is_reported_with_file_line_and_column(
    write: Write, loading_url: URL, table: str, content: str, message: str
) -> None:
    assert message in _error(write(**{table: content}), loading_url)


@pytest.mark.parametrize("moment", BAD_MOMENTS)
def test_invalid_timestamp_is_reported(write: Write, loading_url: URL, moment: str) -> None:
    header = "user_id,lesson_id,started_at,completed_at,time_spent_minutes\n"
    directory = write(user_lesson_progress=f"{header}1,1,2024-01-01 00:00:00Z,{moment},\n")
    wanted = f"user_lesson_progress.csv, line 2, column completed_at: '{moment}' is not a timestamp such as"
    assert wanted in _error(directory, loading_url)


@pytest.mark.parametrize("score", ["abc", "92,5", "1_0", "0x1p3", "90%"])
def test_invalid_number_is_reported(write: Write, loading_url: URL, score: str) -> None:
    directory = write(quiz_attempts=f'id,user_id,quiz_id,score,completed_at\n1,1,1,"{score}",\n')
    wanted = f"quiz_attempts.csv, line 2, column score: '{score}' is not a number"
    assert wanted in _error(directory, loading_url)


def test_minutes_beyond_an_integer_are_reported(write: Write, loading_url: URL) -> None:
    header = "user_id,lesson_id,started_at,completed_at,time_spent_minutes\n"
    message = _error(write(user_lesson_progress=f"{header}1,1,,,2147483648\n"), loading_url)
    assert "'2147483648' is not an integer from -2147483648 to 2147483647" in message


def test_invalid_value_in_a_late_block_is_reported_with_its_line(
    write: Write, loading_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "BLOCK_RECORDS", 100)
    rows = "".join(f'{number},"title\n{number}"\n' for number in range(1000))
    message = _error(write(quizzes=f"id,title\n{rows}x,y\n"), loading_url)
    assert "quizzes.csv, line 2002, column id: 'x' is not" in message


def test_invalid_value_leaves_the_database_unchanged(write: Write, loading_url: URL) -> None:
    _load(write(), loading_url)
    _error(
        write(
            users="id,role,is_active\n1,s,true\n2,s,true\n",
            quiz_attempts="id,user_id,quiz_id,score,completed_at\nx,,,,\n",
        ),
        loading_url,
    )
    assert _select(loading_url, "SELECT count(*) FROM users") == [(1,)]


STRUCTURES = [
    ("id,role,is_active\n1,s,true\n2,s\n", "users.csv, line 3: 2 fields, but the header has 3"),
    ('id,role,is_active\n1,"a\nb",t\n2,a,b,t\n', "users.csv, line 4: 4 fields, but the header has 3"),
    ('id,role,is_active\n1,s,true\n2,s,"true\n3,s,true\n', "users.csv, line 3: a quoted field is never closed"),
    ('id,role,is_active\n1,"s,true\n2,s,true\n', "users.csv, line 2: a quoted field is never closed"),
    ('id,role,is_active,note\n1,s,true,\n2,s,true,"x\n3,s,true,\n', "users.csv, line 3: a quoted field is never clos"),
    ("", "users.csv is empty; expected a header line"),
    ("\n\n", "users.csv is empty; expected a header line"),
    ("id,role,id,is_active\n", "users.csv, line 1: the header has the column id twice"),
    ("id,role\n1,s\n", "users.csv, line 1: the header ('id,role') lacks is_active"),
    ("id;role;is_active\n1;s;true\n", "expected id, role, is_active, current_specialization, current_level, separated"),
    (b"id,role,is_active\n1,s,true\n2,\xe9l\xe8ve,true\n", "users.csv, line 3: the byte 0xe9 is not UTF-8"),
    ("id,role,is_active\n".encode("utf-16"), "users.csv, line 1: the byte 0xff is not UTF-8"),
    (gzip.compress(b"id,role,is_active\n", mtime=0), "users.csv is compressed with gzip; rename it to users.csv.gz"),
]


@pytest.mark.parametrize(("content", "message"), STRUCTURES)
def test_malformed_file_is_reported_with_its_line(
    write: Write, loading_url: URL, content: str | bytes, message: str
) -> None:
    assert message in _error(write(users=content), loading_url)


def test_quotes_inside_a_text_are_valid(write: Write, loading_url: URL) -> None:
    assert _load(write(quizzes='id,title\n1,5" disk\n2,b\n'), loading_url)["quizzes"] == 2


ON = "a quoted field goes on after its closing quote"
SWALLOWED_ROWS = {
    "an even number of quotes": ('1,"a"b"\n2,"c\n3,d\n', f"line 2: {ON} in line 2; close it where its text ends"),
    "up to the next quote": ('1,"a"\n2,"b\n3,"c"\n4,"d"\n', f"line 3: {ON} in line 4"),
    "up to the end": ('1,"a"\n2,5" disk\n3,"b\n4,d\n5,e\n', "line 4: a quoted field is never closed"),
}


@pytest.mark.parametrize(("rows", "message"), SWALLOWED_ROWS.values(), ids=SWALLOWED_ROWS)
def test_unclosed_quote_never_swallows_rows_silently(write: Write, loading_url: URL, rows: str, message: str) -> None:
    """Each of these has two fields a row as Arrow reads it, and was loaded with rows missing."""
    assert f"quizzes.csv, {message}" in _error(write(quizzes=f"id,title\n{rows}"), loading_url)


@pytest.mark.parametrize("share", [0.5, 0.95, 0.999])
def test_truncated_gzip_file_is_reported(write: Write, loading_url: URL, share: float) -> None:
    rows = "".join(f"{number},{uuid.uuid4()}\n" for number in range(20_000))
    directory = write(quizzes=None)
    packed = gzip.compress(f"id,title\n{rows}".encode())
    (directory / "quizzes.csv.gz").write_bytes(packed[: int(len(packed) * share)])
    assert "quizzes.csv.gz is not a complete gzip file" in _error(directory, loading_url)


def test_file_that_is_not_gzip_is_reported(write: Write, loading_url: URL) -> None:
    directory = write(quizzes=None)
    (directory / "quizzes.csv.gz").write_text("id,title\n")
    assert "quizzes.csv.gz is not a complete gzip file" in _error(directory, loading_url)


@pytest.mark.parametrize(("table", "columns", "key"), [
    ("users", "id,role,is_active", "id 7"),
    ("user_lesson_progress", "user_id,lesson_id,started_at,completed_at,time_spent_minutes", "user_id 7, lesson_id 1"),
])  # fmt: skip
def test_duplicate_key_is_reported_with_both_lines(
    write: Write, loading_url: URL, table: str, columns: str, key: str
) -> None:
    rest = ",t" if table == "users" else ",,,"
    rows = "".join(f"{number},1{rest}\n" for number in (3, 7, 5, 7))
    message = _error(write(**{table: f"{columns}\n{rows}"}), loading_url)
    assert message == f"{table}.csv, line 5: {key} is already in line 3; remove one of the lines"


def test_missing_directory_or_files_are_reported(tmp_path: Path) -> None:
    with pytest.raises(CsvFileError, match="nowhere does not exist; expected a directory with"):
        find_csv_files(tmp_path / "nowhere")
    with pytest.raises(CsvFileError, match=r"has no users\.csv, lessons\.csv, .* \(exercise_submissions may be absent"):
        find_csv_files(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(CsvFileError, match="file is a file; expected a directory"):
        find_csv_files(tmp_path / "file")


def test_a_table_with_two_files_is_refused(write: Write) -> None:
    directory = write()
    (directory / "users.csv.gz").write_bytes(gzip.compress(b"id\n"))
    with pytest.raises(CsvFileError, match=r"has both users\.csv and users\.csv\.gz; remove one of them"):
        find_csv_files(directory)


def test_tables_of_a_platform_are_never_replaced(write: Write, database_url: URL) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE users (id bigint)"))
    engine.dispose()
    with pytest.raises(PlatformNotOursError, match="schema public has users, which snapshot-pipeline did not create"):
        _load(write(), database_url)
