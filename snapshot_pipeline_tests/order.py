"""Which tests are system tests, which files need not be imported, and how the tests are distributed over workers."""

from __future__ import annotations

from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

TESTS = Path(__file__).parent

SYSTEM_DIRECTORIES = (
    "browser",
    "faults",
    "integration/celery",
    "integration/dask",
    "integration/embedded",
    "integration/pooler",
    "integration/replica",
)
"""Every test below these has the marker `system`; single files elsewhere set `pytestmark`."""

SYSTEM_PATHS = tuple(f"{directory}/" for directory in SYSTEM_DIRECTORIES)

SLOWEST_FILES = (
    "faults/test_kills.py",
    "faults/test_run_kills.py",
    "faults/test_transient_faults.py",
    "faults/test_incidents.py",
    "faults/test_lasting_faults.py",
    "integration/test_faked_clocks.py",
    "browser/test_dagster_ui.py",
    "integration/celery/test_workers.py",
    "orchestration/test_running_instance.py",
    "orchestration/test_ways_to_start.py",
    "browser/test_demo.py",
    "cli/test_progress.py",
    "integration/dask/test_kills.py",
    "pipeline/test_recommendation_rules.py",
    "cli/test_runs.py",
    "docs/test_extending.py",
    "orchestration/test_incident_scan.py",
    "metrics/test_against_reference.py",
    "pipeline/test_retry.py",
    "integration/replica/test_replica.py",
    "pipeline/test_platform_variants.py",
    "benchmarks/test_measurements.py",
    "test_architecture.py",
    "integration/database_faults/test_transient_faults.py",
    "pipeline/test_recommendation_weeks.py",
    "integration/embedded/test_interruptions.py",
    "integration/dask/test_runs.py",
    "integration/test_secrets.py",
    "orchestration/test_instance.py",
    "orchestration/test_run_lock.py",
    "platform/test_contract.py",
    "pipeline/test_real_data.py",
    "orchestration/test_day_metadata.py",
    "pipeline/test_late_data.py",
    "platform/test_plausibility.py",
    "pipeline/test_late_run.py",
    "platform/test_fingerprints.py",
    "integration/database_faults/test_lasting_faults.py",
    "browser/test_report_page.py",
    "store/test_months.py",
    "integration/dask/test_versions.py",
    "integration/embedded/test_accounts.py",
    "orchestration/test_late_data_sensor.py",
    "pipeline/test_two_runs.py",
    "integration/test_hostile_content.py",
)
"""The files that take longest, in this order. They start first: a slow file that starts last runs alone at the end."""

SHARING_NOTHING = ("integration/test_faked_clocks.py",)
"""Files of long tests without common fixtures."""

SHARING_A_SYSTEM = (
    ("faults/test_kills.py", "faults/test_run_kills.py"),
    ("faults/test_transient_faults.py", "faults/test_incidents.py"),
)
"""Files that run one after the other in the same worker: the system of the fault tests takes half a minute to start."""


class Scheduler(LoadFileScheduling):
    """All tests of a file run in the same worker, except those that share nothing."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        if file.endswith(SHARING_NOTHING):
            return nodeid
        return next((files[0] for files in SHARING_A_SYSTEM if file.endswith(files)), file)


def has_none_of(path: Path, marker_expression: str) -> bool:
    """Whether a file has no test that `pytest -m` selects: importing all files takes longer than most tests."""
    is_system = path.relative_to(TESTS).as_posix().startswith(SYSTEM_PATHS)
    if marker_expression == "not system":
        return is_system
    if marker_expression not in ("system", "clock") or not path.match("test_*.py"):
        return False
    return f"mark.{marker_expression}" not in path.read_text(encoding="utf-8") and not (
        is_system and marker_expression == "system"
    )


def prepare(items: list[pytest.Item]) -> None:
    """Mark the system tests, and sort the files: the slowest first, the others as collected."""
    for item in items:
        if item.path.relative_to(TESTS).as_posix().startswith(SYSTEM_PATHS):
            item.add_marker("system")
    rank = {TESTS / name: number for number, name in enumerate(SLOWEST_FILES)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
