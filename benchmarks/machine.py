"""The machine, the versions and the revision of a measurement."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil
from sqlalchemy import text

from benchmarks.contenders.tables import connected
from benchmarks.datasets import Dataset

_PACKAGES = ("dagster", "pandas", "numpy", "pyarrow", "adbc-driver-postgresql", "sqlalchemy", "psycopg2-binary")
_SERVER_SETTINGS = ("shared_buffers", "work_mem", "data_checksums", "fsync", "synchronous_commit")


@dataclass(frozen=True)
class Machine:
    """A machine and its software, as text.

    Attributes:
        cores: Number of processors that this process may use.
        memory_gib: Total memory.
        postgresql: The server's version and relevant settings.
        packages: Versions by name.
        revision: The commit, with `+ changes` if the working tree differs from it.
    """

    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    postgresql: str
    packages: dict[str, str]
    revision: str


def describe(dataset: Dataset) -> Machine:
    """Describe this machine and the server of a data set."""
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        postgresql=_server(dataset),
        packages={name: version(name) for name in _PACKAGES},
        revision=_revision(),
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _server(dataset: Dataset) -> str:
    with connected(dataset) as connection:
        number = connection.execute(text("SHOW server_version")).scalar_one()
        settings = [f"{name} {connection.execute(text(f'SHOW {name}')).scalar_one()}" for name in _SERVER_SETTINGS]
    return f"{str(number).split()[0]} ({', '.join(settings)})"


def _revision() -> str:
    here = Path(__file__).parent
    commit = _git(here, "rev-parse", "--short=10", "HEAD")
    if not commit:
        return "unknown"
    # Results are written to benchmarks/ and do not affect what is measured.
    return f"{commit} + changes" if _git(here, "status", "--porcelain", "--", "../snapshot_pipeline") else commit


def _git(directory: Path, *arguments: str) -> str:
    try:
        finished = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", *arguments],  # noqa: S607 - whichever git there is
            cwd=directory,
            capture_output=True,
            check=False,
            text=True,
        )
    except OSError:
        return ""
    return finished.stdout.strip()
