"""Who may know whom (the README's architecture): a broken rule is a room that can no longer be changed on its own."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

PACKAGE = Path(__file__).parents[1] / "snapshot_pipeline"
MODULES = sorted(PACKAGE.rglob("*.py"))
OURS = "snapshot_pipeline"


def room_of(path: Path) -> str:
    """The directory of a module below the package, or its own name where it lies on top: `metrics`, `settings`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[str]:
    """The full names of all modules that a file imports, anywhere in it."""
    package = ".".join([OURS, *path.relative_to(PACKAGE).parent.parts])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            # `from . import x` and `from snapshot_pipeline.postgres import bulk` name modules by what they import.
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            module = ".".join(part for part in (above, node.module) if part)
            yield from (f"{module}.{name.name}" for name in node.names)


def is_inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def users_of(package: str) -> set[str]:
    return {room_of(path) for path in MODULES if any(is_inside(name, package) for name in imports_of(path))}


def known_of_ours(room: str) -> set[str]:
    """The other rooms that a room imports."""
    names = {name for path in MODULES if room_of(path) == room for name in imports_of(path) if is_inside(name, OURS)}
    return {name.split(".")[1] for name in names} - {room}


def test_rules_cover_every_package():
    rooms = {room_of(path) for path in MODULES}
    known = {
        "metrics",
        "recommendations",
        "platform",
        "store",
        "pipeline",
        "alerts",
        "telemetry",
        "plots",
        "report",
        "orchestration",
        "cli",
    }
    assert known <= rooms


def test_only_orchestration_definitions_and_cli_import_dagster():
    packages = {name.split(".")[0] for path in MODULES for name in imports_of(path) if name.startswith("dagster")}
    assert "dagster" in packages
    users = set().union(*(users_of(package) for package in packages), users_of(f"{OURS}.orchestration"))
    assert users <= {"orchestration", "definitions", "cli"}


@pytest.mark.parametrize("room", ["metrics", "recommendations"])
def test_metrics_and_recommendations_import_no_database_or_other_package(room: str):
    assert known_of_ours(room) == set()
    for library in ("sqlalchemy", "psycopg2", "adbc_driver_postgresql", "adbc_driver_manager", "pyarrow", "pydantic"):
        assert room not in users_of(library)


def test_platform_and_store_do_not_import_each_other():
    assert "store" not in known_of_ours("platform")
    assert "platform" not in known_of_ours("store")
    for room in ("platform", "store"):
        assert known_of_ours(room).isdisjoint({"recommendations", "pipeline", "cli"})


def test_alerts_import_the_store_but_not_platform_or_pipeline():
    assert known_of_ours("alerts") <= {"errors", "settings", "postgres", "store"}
    assert "alerts" not in known_of_ours("store")
    assert known_of_ours("telemetry") == {"errors"}
    for library, room in (("apprise", "alerts"), ("sentry_sdk", "telemetry"), ("opentelemetry", "telemetry")):
        assert users_of(library) == {room}


def test_only_plots_imports_matplotlib_and_it_imports_no_other_package():
    assert known_of_ours("plots") == set()
    assert users_of("matplotlib") == {"plots"}
    for library in ("sqlalchemy", "psycopg2", "adbc_driver_postgresql", "pyarrow", "pydantic"):
        assert "plots" not in users_of(library)
    # Its state is one for the whole process, and it would look for a screen.
    assert users_of("matplotlib.pyplot") == set()


def test_report_imports_plots_and_no_database():
    assert known_of_ours("report") == {"plots"}
    for library in ("sqlalchemy", "psycopg2", "adbc_driver_postgresql", "pyarrow", "pydantic"):
        assert "report" not in users_of(library)
    assert users_of("jinja2") == {"report"}
    # Words for a log or a mail cost no second.
    assert heads(modules_after(f"import {OURS}.report.words, {OURS}.report.tables")).isdisjoint(DRAWING)


def test_one_module_imports_dask_and_only_for_a_named_scheduler():
    users = [path for path in MODULES if any(is_inside(name, "distributed") for name in imports_of(path))]
    assert users == [PACKAGE / "pipeline" / "dask_cluster" / "cluster.py"]
    imported = modules_after(f"import {OURS}.pipeline.snapshots, {OURS}.pipeline.recommendations")
    assert imported.isdisjoint({"dask", "distributed", f"{OURS}.pipeline.dask_cluster"})


def test_no_package_imports_cli_and_settings_import_only_errors():
    assert users_of(f"{OURS}.cli") <= {"cli"}
    assert known_of_ours("settings") == {"errors"}
    assert known_of_ours("errors") == set()


def modules_after(code: str) -> set[str]:
    """What a fresh interpreter has imported when `code` has run."""
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(finished.stdout.split())


def test_batch_runs_without_dagster_installed():
    assert "dagster" not in modules_after(f"import {OURS}.pipeline.snapshots, {OURS}.pipeline.recommendations")


def test_metrics_run_without_a_database_driver():
    imported = modules_after(f"import {OURS}.metrics.snapshot, {OURS}.recommendations")
    assert imported.isdisjoint({"sqlalchemy", "psycopg2", "adbc_driver_postgresql", "pydantic", "dagster"})


def heads(modules: set[str]) -> set[str]:
    """The packages that modules belong to."""
    return {name.split(".")[0] for name in modules}


ARITHMETIC = {"numpy", "pandas", "pyarrow", "adbc_driver_postgresql"}
"""What computes and transfers; importing it takes a second."""

TELLING = {"apprise", "sentry_sdk", "opentelemetry"}
"""What tells somebody something; most processes never do."""

DRAWING = {"matplotlib"}
"""What draws; importing it takes a second, and only what ends in a picture needs it."""


def test_modules_loaded_by_every_dagster_process_import_no_computation():
    """The web server, the daemon and each run open the storage and the launcher that `dagster.yaml` names."""
    imported = modules_after(f"import {OURS}.orchestration.instance.storage, {OURS}.orchestration.instance.launcher")
    assert heads(imported).isdisjoint(ARITHMETIC | TELLING | DRAWING)
    rooms = {name.split(".")[1] for name in imported if is_inside(name, OURS) and name != OURS}
    assert rooms <= {"orchestration", "postgres", "embedded", "errors", "gc_settings", "settings"}


def test_run_imports_nothing_that_only_other_processes_need():
    """Each run's process loads the definitions: every run pays for what one sensor or one command needs."""
    imported = modules_after(f"import {OURS}.definitions")
    assert {"pandas", "sqlalchemy"} <= heads(imported)
    assert heads(imported).isdisjoint(TELLING | DRAWING)
    others = ("cli", "platform.sample", "platform.csv_files", "store.migrations")
    assert not [name for name in imported for other in others if is_inside(name, f"{OURS}.{other}")]


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (
            ["--help"],
            {"dagster", "alembic", "rich", "pydantic", "sqlalchemy", "psycopg2"} | ARITHMETIC | TELLING | DRAWING,
        ),
        (
            ["materialize", "--help"],
            {"dagster", "alembic", "rich", "sqlalchemy", "psycopg2"} | ARITHMETIC | TELLING | DRAWING,
        ),
        (["alerts", "--help"], {"dagster", "alembic", "rich", "psycopg2"} | ARITHMETIC | TELLING | DRAWING),
        (["db", "url"], {"dagster", "alembic", "rich"} | ARITHMETIC | TELLING | DRAWING),
        (["status"], {"dagster", "alembic"} | TELLING | DRAWING),
    ],
)
def test_frequent_commands_import_only_what_they_need(
    arguments: list[str], unneeded: set[str], database_url: URL, tmp_path: Path
):
    """Importing Dagster takes seconds, and Alembic as long as all the rest of `status`."""
    environment = {
        "SNAPSHOT_DATABASE_URL": database_url.render_as_string(hide_password=False),
        "SNAPSHOT_HOME": str(tmp_path),
    }
    call = (
        f"import os\nos.environ.update({environment!r})\nsys.argv = ['snapshot-pipeline', *{arguments!r}]\n"
        f"from {OURS}.cli import main\ntry:\n    main()\n"
        "except SystemExit as ended:\n    assert ended.code in (None, 0, 3), ended"
    )
    modules_after(call)  # the first `status` makes the tables, with Alembic
    imported = modules_after(call)
    assert f"{OURS}.cli" in imported
    assert heads(imported).isdisjoint(unneeded)


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Everything that is evaluated when the module is imported: not the bodies of its functions."""
    yield node
    inside = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, inside):
            yield from at_import(child)


def test_import_reads_no_environment_variable():
    """A process that is given no settings can import everything; a wrong one is told by whoever needs it."""
    readers = {"load_settings", "Settings", "environ", "getenv"}
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in MODULES
        for node in at_import(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in readers - {"Settings"})
        or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in readers)
    ]
    assert found == []
