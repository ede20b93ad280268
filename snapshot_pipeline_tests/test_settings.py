"""Settings: defaults, one-line errors for invalid values, and a complete example file."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from snapshot_pipeline.settings import (
    DEFAULT_START_DATE,
    FOUND_DAGSTER_HOME,
    Settings,
    SettingsError,
    _warn_if_unknown,
    demo_file,
    dotenv_files,
    load_settings,
)

pytestmark = pytest.mark.clock

EXAMPLE = Path(__file__).parents[1] / ".env.example"


@pytest.fixture(autouse=True)
def _no_developer_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the developer's environment and .env file."""
    for field in Settings.model_fields:
        monkeypatch.delenv(f"SNAPSHOT_{field.upper()}", raising=False)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.delenv(FOUND_DAGSTER_HOME, raising=False)
    monkeypatch.chdir(tmp_path)


def test_every_setting_has_a_default(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.database_url is None
    assert settings.home == tmp_path / ".snapshot_pipeline"
    assert (settings.timezone, settings.min_success_rate, settings.catch_up_days) == ("UTC", 0.90, 14)


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("SNAPSHOT_TIMEZONE", "Europe/Budapset", "SNAPSHOT_TIMEZONE=Europe/Budapset: not a time zone"),
        ("SNAPSHOT_START_DATE", "2999-01-01", "SNAPSHOT_START_DATE=2999-01-01 is after today"),
        ("SNAPSHOT_START_DATE", "yesterday", "SNAPSHOT_START_DATE=yesterday: "),
        ("SNAPSHOT_MIN_SUCCESS_RATE", "1.5", "SNAPSHOT_MIN_SUCCESS_RATE=1.5: input should be less than or equal to 1"),
        ("SNAPSHOT_MIN_SUCCESS_RATE", "-0.1", "greater than or equal to 0"),
        ("SNAPSHOT_MIN_SUCCESS_RATE", "nan", "SNAPSHOT_MIN_SUCCESS_RATE=nan: "),
        ("SNAPSHOT_MAX_RUN_SECONDS", "0", "greater than 0"),
        ("SNAPSHOT_CATCH_UP_DAYS", "0", "greater than or equal to 1"),
        ("SNAPSHOT_SCHEDULES", "perhaps", "SNAPSHOT_SCHEDULES=perhaps: "),
        ("SNAPSHOT_STORE_SCHEMA", "x" * 64, "not a schema name"),
        ("SNAPSHOT_WORKERS", "many", "SNAPSHOT_WORKERS=many: "),
        ("SNAPSHOT_DASK_SCHEDULER", "scheduler:8786", "expected tcp://host:port or tls://host:port"),
        ("SNAPSHOT_DASK_SCHEDULER", "tcp://scheduler", "SNAPSHOT_DASK_SCHEDULER=tcp://scheduler: not the address"),
        ("SNAPSHOT_REPORT_WEEKS", "0", "SNAPSHOT_REPORT_WEEKS=0: "),
        (
            "SNAPSHOT_REPORT_URL",
            "javascript:alert(1)",
            "SNAPSHOT_REPORT_URL is not valid: not the address of a web page",
        ),
        (
            "SNAPSHOT_REPORT_URL",
            "https://u:secret@h/",
            "SNAPSHOT_REPORT_URL is not valid: not the address of a web page",
        ),
        ("SNAPSHOT_REPLICA_WAIT_SECONDS", "-1", "greater than or equal to 0"),
        ("SNAPSHOT_OWNERS", "team:data,bob", "'bob' is not an owner; expected team:name or an e-mail address"),
        ("SNAPSHOT_OWNERS", "team:", "'team:' is not an owner"),
    ],
)
def test_invalid_value_is_a_one_line_error_with_the_allowed_values(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_variable_means_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNAPSHOT_DATABASE_URL", "")
    assert load_settings().database_url is None


def test_our_tables_are_in_a_schema_of_their_own_on_a_platforms_database() -> None:
    assert load_settings().store_schema == "public"
    assert load_settings(database_url="postgresql://u@h/d").store_schema == "snapshots"
    assert load_settings(database_url="postgresql://u@h/d", store_schema="public").store_schema == "public"


def test_the_environment_takes_precedence_over_a_dotenv_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SNAPSHOT_TIMEZONE=Asia/Kolkata\nSNAPSHOT_CATCH_UP_DAYS=3\nOTHER=1\n")
    monkeypatch.setenv("SNAPSHOT_CATCH_UP_DAYS", "5")
    assert (load_settings().timezone, load_settings().catch_up_days) == ("Asia/Kolkata", 5)


@pytest.mark.parametrize(
    ("environment", "home", "here", "expected"),
    [
        (None, None, None, 14),
        (None, None, "3", 3),
        (None, "4", "3", 4),
        ("5", "4", "3", 5),
        ("", "4", "3", 14),
        (None, "", "3", 14),
        (None, None, "", 14),
    ],
)
def test_the_first_source_that_names_a_setting_decides(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    environment: str | None,
    home: str | None,
    here: str | None,
    expected: int,
) -> None:
    """An empty value names the setting, and means the default."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    for directory, value in ((tmp_path / "home", home), (tmp_path, here)):
        if value is not None:
            (directory / ".env").write_text(f"SNAPSHOT_CATCH_UP_DAYS={value}\n")
    if environment is not None:
        monkeypatch.setenv("SNAPSHOT_CATCH_UP_DAYS", environment)
    assert load_settings().catch_up_days == expected
    named = [tmp_path / "home" / ".env"] * (home is not None) + [tmp_path / ".env"] * (here is not None)
    assert dotenv_files() == named
    assert load_settings(_env_file=None).catch_up_days == (int(environment) if environment else 14)


def test_the_demos_settings_are_read_last_and_only_for_the_embedded_database(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SNAPSHOT_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    demo_file(tmp_path / "home").write_text(
        "SNAPSHOT_START_DATE=2026-02-03\nSNAPSHOT_ALERT_URLS=file:///alerts.txt\nSNAPSHOT_CATCH_UP_DAYS=1\n"
    )
    settings = load_settings()
    assert (settings.start_date, settings.catch_up_days) == (date(2026, 2, 3), 14)
    assert settings.alert_urls is not None
    (tmp_path / ".env").write_text("SNAPSHOT_START_DATE=2026-01-01\nSNAPSHOT_ALERT_URLS=\n")
    assert (load_settings().start_date, load_settings().alert_urls) == (date(2026, 1, 1), None)
    (tmp_path / ".env").write_text("SNAPSHOT_DATABASE_URL=postgresql://u@h/d\n")
    assert (load_settings().start_date, load_settings().alert_urls) == (DEFAULT_START_DATE, None)


def test_a_relative_home_in_a_dotenv_file_is_relative_to_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".env").write_text("SNAPSHOT_HOME=data\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    assert load_settings().home == tmp_path / "home" / "data"


def test_settings_stay_the_same_when_a_command_finds_dagsters_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The command has read its settings before; its storage reads them again."""
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / ".env").write_text("SNAPSHOT_CATCH_UP_DAYS=3\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "found"))
    assert load_settings().catch_up_days == 3
    monkeypatch.setenv(FOUND_DAGSTER_HOME, str(tmp_path / "found"))
    assert load_settings().catch_up_days == 14


def test_an_unknown_name_is_named_once_with_its_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".env").write_text("SNAPSHOT_TIMZONE=Asia/Kolkata\nOTHER=1\n")
    monkeypatch.setenv("SNAPSHOT_SECRET_OF_OTHERS", "hunter2")
    monkeypatch.setenv("SNAPSHOT_PIPELINE_PORT", "tcp://10.0.0.1:80")
    _warn_if_unknown.cache_clear()
    for _ in range(2):
        load_settings()
    assert sorted(record.getMessage() for record in caplog.records) == [
        "warning: SNAPSHOT_SECRET_OF_OTHERS in the environment is not a setting and has no effect; see .env.example "
        "for all settings",
        f"warning: SNAPSHOT_TIMZONE in {tmp_path / '.env'} is not a setting and has no effect; did you mean "
        "SNAPSHOT_TIMEZONE?",
    ]


def test_no_representation_of_the_settings_shows_a_password() -> None:
    settings = load_settings(database_url="postgresql://u:hunter2@h/d")
    assert "hunter2" not in f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"


def test_the_example_file_explains_every_setting_with_its_default() -> None:
    example = dict(re.findall(r"^#(SNAPSHOT_\w+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))
    assert set(example) == {f"SNAPSHOT_{field.upper()}" for field in Settings.model_fields}
    secret = ("SNAPSHOT_DATABASE_URL", "SNAPSHOT_DAGSTER_DATABASE_URL", "SNAPSHOT_SOURCE_DATABASE_URL")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in example.items():
            if name not in secret:
                patch.setenv(name, value)
        assert load_settings() == Settings()
    assert load_settings().start_date == date.fromisoformat(example["SNAPSHOT_START_DATE"])


def test_owners_are_teams_and_addresses_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNAPSHOT_OWNERS", "team:data, ana@example.org,")
    assert load_settings().owners == ("team:data", "ana@example.org")
