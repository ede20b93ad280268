"""`Settings`: every variable `SNAPSHOT_*` with its default, bounds and description.

One object is read from the environment and passed on. Nothing reads settings at import.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Mapping
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from snapshot_pipeline.errors import SnapshotPipelineError

PREFIX = "SNAPSHOT_"
FOUND_DAGSTER_HOME = "SNAPSHOT_PIPELINE_FOUND_HOME"
"""Variable of a command for its children: the DAGSTER_HOME that it set itself, whose `.env` is not read."""

DEFAULT_HOME = Path(".snapshot_pipeline")
DEFAULT_START_DATE = date(2025, 1, 1)
DEMO_SETTINGS = ("SNAPSHOT_START_DATE", "SNAPSHOT_ALERT_URLS")
_OWNER = r"team:\S+|[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}"  # as Dagster requires


class SettingsError(SnapshotPipelineError):
    """One or more settings are not valid; the message names each variable, its value and what is allowed."""


_LOG = logging.getLogger(__name__)
_known_zones = lru_cache(available_timezones)  # opens every file of the zone database, and settings are read often


def _known_zone(name: str) -> str:
    if name not in _known_zones():
        raise ValueError("not a time zone of the IANA database; expected a name such as Europe/Budapest or UTC")
    return name


def _plain_identifier(name: str) -> str:
    # SQLAlchemy quotes all identifiers; this check keeps control characters out of messages and COPY targets.
    if not name or len(name.encode()) > 63 or any(ord(character) < 32 for character in name):
        raise ValueError("not a schema name; expected 1 to 63 bytes without control characters")
    return name


def _scheduler_address(address: str) -> str:
    if not re.fullmatch(r"(tcp|tls)://([^\s/:@]+|\[[0-9a-fA-F:]+\]):\d{1,5}", address):
        raise ValueError("not the address of a Dask scheduler; expected tcp://host:port or tls://host:port")
    return address


def _split_at_commas(text: Any) -> Any:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if isinstance(text, str) else text


def _owners(owners: tuple[str, ...]) -> tuple[str, ...]:
    wrong = [owner for owner in owners if not re.fullmatch(_OWNER, owner)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is not an owner; expected team:name or an e-mail address, separated by commas")
    return owners


def _page_url(address: str) -> str:
    # It becomes a link in the UI: no javascript: or other scheme that a browser would execute.
    if not re.fullmatch(r"https?://[^\s@]+", address):
        raise ValueError(
            "not the address of a web page; expected http:// or https:// and a host, without user and password"
        )
    return address.rstrip("/")


def _student_url(address: str) -> str:
    page = address.replace("{user_id}", "1")
    if page == address or set("{}") & set(page):
        raise ValueError(
            "not the address of a student's page; expected one with {user_id}, such as "
            "https://lms.example.org/user/{user_id}"
        )
    _page_url(page)
    return address


def _host_names(hosts: tuple[str, ...]) -> tuple[str, ...]:
    for host in hosts:
        if not re.fullmatch(r"\[?[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]?|[A-Za-z0-9._-]+", host):
            raise ValueError(
                f"{host!r} is not a host name; expected names or addresses separated by commas, without scheme, port "
                "and path, such as dagster.example.org"
            )
    return hosts


ZoneName = Annotated[str, AfterValidator(_known_zone)]
SchemaName = Annotated[str, AfterValidator(_plain_identifier)]
DaskAddress = Annotated[str, AfterValidator(_scheduler_address)]
CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_at_commas)]
Owners = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_at_commas), AfterValidator(_owners)]
HostNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_at_commas), AfterValidator(_host_names)]
PageUrl = Annotated[str, AfterValidator(_page_url)]
StudentUrl = Annotated[str, AfterValidator(_student_url)]


def dotenv_files() -> list[Path]:
    """Return the `.env` files that are read: in DAGSTER_HOME, then in the working directory; those that exist."""
    home = os.environ.get("DAGSTER_HOME")
    homes = [Path(home)] if home and home != os.environ.get(FOUND_DAGSTER_HOME) else []
    return list(dict.fromkeys(file for home in (*homes, Path.cwd()) if (file := home.absolute() / ".env").is_file()))


def demo_file(home: Path) -> Path:
    """Return the file of settings that the demo keeps beside its embedded database; it may not exist.

    It is read after all other sources, only while SNAPSHOT_DATABASE_URL is not set, and only for `DEMO_SETTINGS`.
    """
    return home / "demo.env"


def _named_values(files: list[Path] | None) -> dict[str, str]:
    """Return the value of each variable in the first source that names it: the environment, the files, the demo's.

    None leaves out all files.
    """
    sources: list[tuple[str, Mapping[str, str | None]]] = [("the environment", os.environ)]
    sources += [(str(file), _relative_to_file(file)) for file in files or ()]
    values: dict[str, str] = {}
    for source, variables in sources:
        for variable, value in variables.items():
            name = variable.upper()
            if value is not None and name.startswith(PREFIX) and name not in values:
                values[name] = value
                _warn_if_unknown(name, source)
    home = Path(values.get(f"{PREFIX}HOME") or DEFAULT_HOME).expanduser()
    if files is not None and not values.get(f"{PREFIX}DATABASE_URL") and os.access(demo_file(home), os.R_OK):
        demo = dotenv_values(demo_file(home), encoding="utf-8")
        values = {**{name: demo[name] or "" for name in DEMO_SETTINGS if name in demo}, **values}
    return values


def _relative_to_file(file: Path) -> dict[str, str | None]:
    variables = dotenv_values(file, encoding="utf-8")
    if home := variables.get(f"{PREFIX}HOME"):
        variables[f"{PREFIX}HOME"] = str(file.parent / Path(home).expanduser())
    return variables


@lru_cache  # once a process: settings are read often
def _warn_if_unknown(name: str, source: str) -> None:
    known = [f"{PREFIX}{field.upper()}" for field in Settings.model_fields]
    if name in known or name.startswith("SNAPSHOT_PIPELINE_"):  # Kubernetes sets those for a service of this name
        return
    similar = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    hint = f"did you mean {similar[0]}?" if similar else "see .env.example for all settings"
    _LOG.warning("warning: %s in %s is not a setting and has no effect; %s", name, source, hint)


class _NamedValues(EnvSettingsSource):
    """The environment and the `.env` files as one source: an empty value in the first that names it is the default."""

    def __init__(self, settings_class: type[BaseSettings], files: list[Path] | None) -> None:
        self._files = files
        super().__init__(settings_class)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in _named_values(self._files).items() if value}


class Settings(BaseSettings):
    """The settings of one installation, from the environment or the `.env` files of `dotenv_files`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment and the files as one source; `_env_file=None` leaves the files out."""
        reads_files = getattr(dotenv_settings, "env_file", None) is not None
        return init_settings, _NamedValues(settings_cls, dotenv_files() if reads_files else None)

    home: Path = Field(
        default=DEFAULT_HOME,
        description="The directory of the embedded server, the runs' output and the logs.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="The platform's PostgreSQL database; if unset, an embedded server is started in SNAPSHOT_HOME.",
    )
    dagster_database_url: SecretStr | None = Field(
        default=None,
        description="Dagster's own database; if unset, `<platform's database>_dagster` on the same server, and "
        "`dagster` on the embedded one.",
    )
    source_database_url: SecretStr | None = Field(
        default=None,
        description="The database that the platform is read from, e.g. a replica; if unset, SNAPSHOT_DATABASE_URL.",
    )
    replica_wait_seconds: float = Field(
        default=300,
        ge=0,
        description="How long a run waits for a read replica that has not reached the end of the run's last day.",
    )
    platform_schema: SchemaName = Field(default="public", description="The schema of the platform's tables.")
    store_schema: SchemaName = Field(
        default_factory=lambda values: "public" if values.get("database_url") is None else "snapshots",
        description="The schema of the pipeline's own tables; if unset, `snapshots`, and `public` on the embedded "
        "server.",
    )
    timezone: ZoneName = Field(default="UTC", description="The platform's time zone; a day is a local day in it.")
    naive_timezone: ZoneName = Field(
        default="UTC", description="The time zone of the platform's columns of type `timestamp` (without time zone)."
    )
    start_date: date = Field(default=DEFAULT_START_DATE, description="The first day that has a partition.")
    schedules: bool = Field(default=True, description="Whether the schedules are on from the first start (on or off).")
    catch_up_days: int = Field(
        default=14, ge=1, le=366, description="How many days back the daily schedule materializes missing days."
    )
    days_per_run: int = Field(
        default=31, ge=1, le=366, description="Maximum number of days that one run of a backfill computes."
    )
    celery_broker_url: SecretStr | None = Field(
        default=None, description="The Redis broker through which Celery passes runs to workers; unset without Celery."
    )
    min_success_rate: float = Field(
        default=0.90,
        ge=0,
        le=1,
        description="The share of a day's students that must be published; below it, `success_rate` fails.",
    )
    max_issue_rate: float = Field(
        default=0.10,
        ge=0,
        le=1,
        description="The share of a day's students that may have an invalid row; above it, `data_quality` fails.",
    )
    student_roles: CommaSeparated = Field(
        default=("student",),
        min_length=1,
        description="The values of `users.role` that mean a student, in upper or lower case, separated by commas.",
    )
    score_maximum: float = Field(
        default=100,
        gt=0,
        allow_inf_nan=False,
        description="The score of full marks: 1 for a platform that stores fractions.",
    )
    review_below_score: float = Field(
        default=60, ge=0, le=100, description="The score in percent below which a lesson is recommended for review."
    )
    max_run_seconds: float = Field(
        default=300, gt=0, description="The run time above which the check `run_time` warns."
    )
    max_student_drop: float = Field(
        default=0.20,
        ge=0,
        le=1,
        description="The share by which the number of students may fall from one day to the next, and of a day's "
        "published rows that a recomputation may remove.",
    )
    at_risk_min_share: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="`at_risk_plausible` warns if a smaller share of the students with a score is listed as at risk.",
    )
    at_risk_max_share: float = Field(
        default=0.40, ge=0, le=1, description="`at_risk_plausible` warns if a larger share is listed."
    )
    batch_rows: int = Field(
        default=750_000,
        ge=100,
        description="Size of a batch: rows computed (students × days) plus a quarter of the rows read; limits memory.",
    )
    workers: int = Field(default=2, ge=1, le=64, description="How many batches are processed at a time.")
    dask_scheduler: DaskAddress | None = Field(
        default=None,
        description="The scheduler of a Dask cluster that processes the batches; if unset, the run's own process does.",
    )
    late_days: int = Field(
        default=3, ge=0, le=31, description="How many days before the newest one each nightly run computes again."
    )
    late_window_days: int = Field(
        default=60, ge=1, le=3660, description="How many days back the pipeline searches for late rows."
    )
    late_check_minutes: int = Field(
        default=60, ge=1, le=1440, description="How often the pipeline searches for late rows."
    )
    statement_timeout_seconds: float = Field(default=600, gt=0, description="How long one statement may take.")
    lock_timeout_seconds: float = Field(
        default=10, gt=0, description="How long a statement waits for a table that another session has locked."
    )
    run_lock_seconds: float = Field(
        default=60, gt=0, description="How long a run waits for another run that writes the same days."
    )
    retry_seconds: float = Field(
        default=60,
        gt=0,
        description="The pause before a step that lost its database is retried; doubled after each retry.",
    )
    alert_urls: SecretStr | None = Field(
        default=None, description="The recipients of incidents: Apprise URLs, separated by spaces or line breaks."
    )
    ui_url: str = Field(
        default="http://127.0.0.1:3000", description="The address of the Dagster UI, for the links in messages."
    )
    ui_hosts: HostNames = Field(
        default=(),
        description="The host names of the Dagster UI, separated by commas: `snapshot-pipeline webserver` refuses "
        "requests for others. If unset, the loopback names and the host of SNAPSHOT_UI_URL.",
    )
    owners: Owners = Field(
        default=(),
        description="The owners of the assets and jobs in the UI: team:name or e-mail addresses, separated by commas.",
    )
    watch_seconds: int = Field(
        default=30, ge=1, le=3600, description="How often the pipeline scans for incidents and sends messages."
    )
    overdue_minutes: int = Field(
        default=60, ge=1, le=1440, description="How long after it is due a missing day or week becomes an incident."
    )
    incident_retention_days: int = Field(
        default=365, ge=1, description="How long closed incidents and their messages are kept."
    )
    restatement_retention_days: int = Field(default=365, ge=1, description="How long restatements are kept.")
    snapshot_retention_days: int | None = Field(
        default=None, ge=60, description="How long snapshots and recommendations are kept; if unset, forever."
    )
    report_weeks: int = Field(
        default=26,
        ge=1,
        le=520,
        description="For how many weeks the weekly reports in SNAPSHOT_HOME/reports, and the lists of students in "
        "SNAPSHOT_HOME/students, are kept.",
    )
    report_url: PageUrl | None = Field(
        default=None,
        description="The address at which a web server serves the weekly reports; if unset, `/reports` of the UI.",
    )
    report_recipients: SecretStr | None = Field(
        default=None,
        description="The recipients of the weekly report: Apprise URLs, separated by spaces or line breaks.",
    )
    student_url: StudentUrl | None = Field(
        default=None,
        description="The address of a student's page on the platform, with `{user_id}`; the ids in lists link to it.",
    )
    student_lists: bool = Field(
        default=True,
        description="Whether lists of the students at risk are written into SNAPSHOT_HOME/students (on or off).",
    )
    dagster_log_retention_days: int = Field(
        default=90,
        ge=1,
        description="How long Dagster's log lines are kept; materializations and check results are kept forever.",
    )

    @model_validator(mode="after")
    def _start_date_is_not_in_the_future(self) -> Settings:
        # The only setting that depends on the clock: with a start in the future there is no day to compute.
        today = datetime.now(self.zone).date()
        if self.start_date > today:
            raise ValueError(
                f"SNAPSHOT_START_DATE={self.start_date} is after today ({today} in {self.timezone}); "
                "expected today or an earlier day"
            )
        return self

    @field_validator("home")
    @classmethod
    def _home_is_absolute(cls, home: Path) -> Path:
        # Dagster's processes have different working directories; the path must mean the same in all of them.
        return home.expanduser().absolute()

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @property
    def naive_zone(self) -> ZoneInfo:
        """The time zone of the platform's timestamps without time zone."""
        return ZoneInfo(self.naive_timezone)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment; `overrides`, by field name, take precedence.

    Raises:
        SettingsError: A value is not allowed; one sentence per problem, without secrets.
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
        return f"{variable} is not valid: {message}"
    return f"{variable}={problem['input']!s}: {message[0].lower() + message[1:]}"
