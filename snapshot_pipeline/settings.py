"""What differs between platforms: one `Settings` object, read once from `SNAPSHOT_*` and passed on.

Put here: every variable that a user may set, its default, its bounds and the sentence that explains it.
Do not put here: what follows from a setting (a URL that is made, a server that is started): see `database`.
Nothing reads settings at import: a process that is given none starts with the defaults.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from snapshot_pipeline.errors import SnapshotPipelineError

DEFAULT_START_DATE = date(2025, 1, 1)
_OWNER = r"team:\S+|[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}"  # as Dagster wants it


class SettingsError(SnapshotPipelineError):
    """One or more settings are wrong; the message names each variable, its value and what is allowed."""


_known_zones = lru_cache(available_timezones)  # opens every file of the zone database, and settings are read often


def _known_zone(name: str) -> str:
    if name not in _known_zones():
        raise ValueError("is no time zone of the IANA database; expected a name such as Europe/Budapest or UTC")
    return name


def _plain_identifier(name: str) -> str:
    # Identifiers are always quoted by SQLAlchemy; this only keeps surprises out of messages and COPY targets.
    if not name or len(name.encode()) > 63 or any(ord(character) < 32 for character in name):
        raise ValueError("is no schema name; expected 1 to 63 bytes without control characters")
    return name


def _scheduler_address(address: str) -> str:
    if not re.fullmatch(r"(tcp|tls)://([^\s/:@]+|\[[0-9a-fA-F:]+\]):\d{1,5}", address):
        raise ValueError("is no address of a Dask scheduler; expected tcp://host:port or tls://host:port")
    return address


def _split_at_commas(text: Any) -> Any:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if isinstance(text, str) else text


def _owners(owners: tuple[str, ...]) -> tuple[str, ...]:
    wrong = [owner for owner in owners if not re.fullmatch(_OWNER, owner)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no owner; expected team:name or an e-mail address, several with commas")
    return owners


def _page_url(address: str) -> str:
    # It becomes a link in the UI, so nothing that a browser would run.
    if not re.fullmatch(r"https?://[^\s@]+", address):
        raise ValueError(
            "no address of a web page; expected http:// or https:// and a host, without a user or password"
        )
    return address.rstrip("/")


ZoneName = Annotated[str, AfterValidator(_known_zone)]
SchemaName = Annotated[str, AfterValidator(_plain_identifier)]
DaskAddress = Annotated[str, AfterValidator(_scheduler_address)]
Owners = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_at_commas), AfterValidator(_owners)]
PageUrl = Annotated[str, AfterValidator(_page_url)]


class Settings(BaseSettings):
    """The settings of one installation, from the environment or a `.env` file in the working directory."""

    model_config = SettingsConfigDict(
        env_prefix="SNAPSHOT_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    home: Path = Field(
        default=Path(".snapshot_pipeline"),
        description="Where the embedded server, the run artifacts and the logs are kept.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="The platform's PostgreSQL; unset, a private server is started below SNAPSHOT_HOME.",
    )
    dagster_database_url: SecretStr | None = Field(
        default=None,
        description="Dagster's own database; unset, the database `dagster` on the same server.",
    )
    source_database_url: SecretStr | None = Field(
        default=None,
        description="Where the platform is read, such as a read replica; unset, SNAPSHOT_DATABASE_URL.",
    )
    replica_wait_seconds: float = Field(
        default=300, ge=0, description="How long a run waits for a read replica that is behind the end of its last day."
    )
    platform_schema: SchemaName = Field(default="public", description="The schema of the platform's tables.")
    store_schema: SchemaName = Field(default="public", description="The schema of the tables that we own.")
    timezone: ZoneName = Field(default="UTC", description="The platform's time zone; a day is a local day in it.")
    naive_timezone: ZoneName = Field(
        default="UTC", description="What a plain `timestamp` of the platform (without a zone) is to be read in."
    )
    start_date: date = Field(default=DEFAULT_START_DATE, description="The first day that has a partition.")
    schedules: bool = Field(default=True, description="Whether the schedules run from the first start (on or off).")
    catch_up_days: int = Field(
        default=14, ge=1, le=366, description="How many of the last days the nightly schedule asks for when missing."
    )
    days_per_run: int = Field(
        default=31, ge=1, le=366, description="How many days one run of a backfill computes at the most."
    )
    celery_broker_url: SecretStr | None = Field(
        default=None, description="The Redis through which Celery hands runs to workers; unset where there is none."
    )
    min_success_rate: float = Field(
        default=0.90, ge=0, le=1, description="The share of students that must succeed, else the check fails."
    )
    max_run_seconds: float = Field(default=300, gt=0, description="The run time above which the check warns.")
    max_student_drop: float = Field(
        default=0.20, ge=0, le=1, description="The share by which the number of students may fall from day to day."
    )
    batch_rows: int = Field(
        default=750_000,
        ge=100,
        description="Rows made, and a quarter of the rows read, of one batch; bounds the memory.",
    )
    workers: int = Field(default=2, ge=1, le=64, description="How many batches are worked on at a time.")
    dask_scheduler: DaskAddress | None = Field(
        default=None,
        description="The scheduler of a Dask cluster that works on the batches; unset, they are worked on here.",
    )
    late_days: int = Field(
        default=3, ge=0, le=31, description="How many days before the newest one each night computes again as well."
    )
    late_window_days: int = Field(
        default=60, ge=1, le=3660, description="How many days back rows that came late are looked for."
    )
    late_check_minutes: int = Field(default=60, ge=1, le=1440, description="How often rows that came late are sought.")
    statement_timeout_seconds: float = Field(
        default=600, gt=0, description="How long one look at the platform, or one statement of ours, may take."
    )
    lock_timeout_seconds: float = Field(
        default=10, gt=0, description="How long a statement waits for a lock that the application holds on a table."
    )
    run_lock_seconds: float = Field(
        default=60, gt=0, description="How long a run waits for another one that writes the same days."
    )
    retry_seconds: float = Field(
        default=60, gt=0, description="The pause before a run that lost its database tries again; doubled each time."
    )
    alert_urls: SecretStr | None = Field(
        default=None, description="Who is told of an incident: Apprise URLs, separated by spaces or line breaks."
    )
    ui_url: str = Field(
        default="http://127.0.0.1:3000", description="Where the Dagster UI is, for the links in messages."
    )
    owners: Owners = Field(
        default=(), description="Whose the assets and jobs are, in the UI: team:name or e-mail addresses, with commas."
    )
    watch_seconds: int = Field(
        default=30, ge=1, le=3600, description="How often incidents are looked for, and messages are sent."
    )
    overdue_minutes: int = Field(
        default=60, ge=1, le=1440, description="How long after it is due a day or a week may be missing unnoticed."
    )
    incident_retention_days: int = Field(
        default=365, ge=1, description="How long incidents that are over, and their messages, are kept."
    )
    restatement_retention_days: int = Field(default=365, ge=1, description="How long restatements are kept.")
    snapshot_retention_days: int | None = Field(
        default=None, ge=60, description="How long snapshots and recommendations are kept; unset, for ever."
    )
    report_weeks: int = Field(
        default=26, ge=1, le=520, description="For how many weeks the weekly pages below SNAPSHOT_HOME are kept."
    )
    report_url: PageUrl | None = Field(
        default=None,
        description="Where a web server shows the directory of the weekly pages; unset, the UI names the file.",
    )
    dagster_log_retention_days: int = Field(
        default=90, ge=1, description="How long Dagster's log lines are kept; materializations and checks stay."
    )

    @model_validator(mode="after")
    def _start_date_has_begun(self) -> Settings:
        # The only look at the clock among the settings: a future start leaves no day to compute.
        today = datetime.now(self.zone).date()
        if self.start_date > today:
            raise ValueError(
                f"SNAPSHOT_START_DATE={self.start_date} is after today ({today} in {self.timezone}); "
                "expected a day that has begun"
            )
        return self

    @field_validator("home")
    @classmethod
    def _home_is_absolute(cls, home: Path) -> Path:
        # Dagster's processes are handed the settings; a relative path must mean the same in each of them.
        return home.expanduser().absolute()

    @property
    def zone(self) -> ZoneInfo:
        """The platform's time zone."""
        return ZoneInfo(self.timezone)

    @property
    def naive_zone(self) -> ZoneInfo:
        """The zone in which the platform's plain time stamps are to be read."""
        return ZoneInfo(self.naive_timezone)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment, with `overrides` by field name taking precedence.

    Raises:
        SettingsError: A value is missing or not allowed; one sentence per problem, secrets left out.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(problem) for problem in error.errors())) from None


def _sentence(problem: Any) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return str(message)
    field = str(problem["loc"][0])
    variable = f"SNAPSHOT_{field.upper()}"
    if field.endswith("url"):
        return f"{variable} cannot be read: {message}"
    return f"{variable}={problem['input']!s}: {message[0].lower() + message[1:]}"
