"""Imports between packages follow the architecture in the README, so that each package can be changed on its own."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine

from snapshot_pipeline.store.migrate import migrate

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "snapshot_pipeline"
MODULES = sorted(PACKAGE.rglob("*.py"))
OURS = "snapshot_pipeline"


def package_of(path: Path) -> str:
    """Return the subpackage of a module, such as `metrics`, or the name of a top-level module, such as `settings`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imports_of(path: Path) -> tuple[str, ...]:
    """Return the full names of all modules that a file imports, including imports inside functions."""
    return tuple(_imports_of(path))


def _imports_of(path: Path) -> Iterator[str]:
    package = ".".join([OURS, *path.relative_to(PACKAGE).parent.parts])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            # In `from . import x` and `from snapshot_pipeline.postgres import bulk` the imported names are modules.
            parent = package.rsplit(".", node.level - 1)[0] if node.level else ""
            module = ".".join(part for part in (parent, node.module) if part)
            yield from (f"{module}.{name.name}" for name in node.names)


def is_inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def importers_of(package: str) -> set[str]:
    return {package_of(path) for path in MODULES if any(is_inside(name, package) for name in imports_of(path))}


def own_imports(subpackage: str) -> set[str]:
    """Return the other subpackages that a subpackage imports."""
    names = {
        name for path in MODULES if package_of(path) == subpackage for name in imports_of(path) if is_inside(name, OURS)
    }
    return {name.split(".")[1] for name in names} - {subpackage}


def test_rules_cover_every_package():
    subpackages = {package_of(path) for path in MODULES}
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
    assert known <= subpackages


def test_only_orchestration_definitions_and_cli_import_dagster():
    packages = {name.split(".")[0] for path in MODULES for name in imports_of(path) if name.startswith("dagster")}
    assert "dagster" in packages
    importers = set().union(*(importers_of(package) for package in packages), importers_of(f"{OURS}.orchestration"))
    assert importers <= {"orchestration", "definitions", "cli"}


@pytest.mark.parametrize("subpackage", ["metrics", "recommendations"])
def test_metrics_and_recommendations_import_no_database_or_other_package(subpackage: str):
    assert own_imports(subpackage) == set()
    for library in ("sqlalchemy", "psycopg2", "adbc_driver_postgresql", "adbc_driver_manager", "pyarrow", "pydantic"):
        assert subpackage not in importers_of(library)


def test_platform_and_store_do_not_import_each_other():
    assert "store" not in own_imports("platform")
    assert "platform" not in own_imports("store")
    for subpackage in ("platform", "store"):
        assert own_imports(subpackage).isdisjoint({"recommendations", "pipeline", "cli"})


def test_alerts_import_the_store_but_not_platform_or_pipeline():
    assert own_imports("alerts") <= {"errors", "settings", "postgres", "store"}
    assert "alerts" not in own_imports("store")
    assert own_imports("telemetry") == {"errors"}
    for library, subpackage in (("apprise", "alerts"), ("sentry_sdk", "telemetry"), ("opentelemetry", "telemetry")):
        assert importers_of(library) == {subpackage}


def test_only_plots_imports_matplotlib_and_it_imports_no_other_package():
    assert own_imports("plots") == set()
    assert importers_of("matplotlib") == {"plots"}
    for library in ("sqlalchemy", "psycopg2", "adbc_driver_postgresql", "pyarrow", "pydantic"):
        assert "plots" not in importers_of(library)
    # pyplot has global state and selects a backend with a display.
    assert importers_of("matplotlib.pyplot") == set()


def test_report_imports_plots_and_no_database():
    assert own_imports("report") == {"plots"}
    for library in ("sqlalchemy", "psycopg2", "adbc_driver_postgresql", "pyarrow", "pydantic"):
        assert "report" not in importers_of(library)
    assert importers_of("jinja2") == {"report"}
    # Text for logs and mails does not need matplotlib, which takes a second to import.
    assert top_level_packages(modules_after(f"import {OURS}.report.words, {OURS}.report.sections")).isdisjoint(DRAWING)


def test_one_module_imports_dask_and_only_for_a_named_scheduler():
    importers = [path for path in MODULES if any(is_inside(name, "distributed") for name in imports_of(path))]
    assert importers == [PACKAGE / "pipeline" / "dask_cluster" / "cluster.py"]
    imported = modules_after(f"import {OURS}.pipeline.snapshots, {OURS}.pipeline.recommendations")
    assert imported.isdisjoint({"dask", "distributed", f"{OURS}.pipeline.dask_cluster"})


def test_one_module_per_driver_opens_connections():
    """Encoding, time limits and keepalives are set there; the embedded server's are its own."""
    opening = {"create_engine", "psycopg2.connect", "adbc.connect"}
    openers = {
        path.relative_to(PACKAGE).as_posix()
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in opening
    }
    assert openers == {"postgres/sessions.py", "postgres/bulk.py", "embedded/connection.py"}


def test_no_package_imports_cli_and_settings_import_only_errors():
    assert importers_of(f"{OURS}.cli") <= {"cli"}
    assert own_imports("settings") == {"errors"}
    assert own_imports("errors") == set()


@cache
def modules_after(code: str) -> set[str]:
    """Return the modules that a new interpreter has imported after running `code`."""
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(finished.stdout.split())


def test_batch_runs_without_dagster_installed():
    assert "dagster" not in modules_after(f"import {OURS}.pipeline.snapshots, {OURS}.pipeline.recommendations")


def test_metrics_run_without_a_database_driver():
    imported = modules_after(f"import {OURS}.metrics.snapshot, {OURS}.recommendations")
    assert imported.isdisjoint({"sqlalchemy", "psycopg2", "adbc_driver_postgresql", "pydantic", "dagster"})


def top_level_packages(modules: set[str]) -> set[str]:
    """Return the top-level packages of modules."""
    return {name.split(".")[0] for name in modules}


ARITHMETIC = {"numpy", "pandas", "pyarrow", "adbc_driver_postgresql"}
"""Libraries for computation and transfer; importing them takes a second."""

NOTIFYING = {"apprise", "sentry_sdk", "opentelemetry"}
"""Libraries for alerts and telemetry; most processes need none of them."""

DRAWING = {"matplotlib"}
"""Libraries for plots; importing them takes a second."""


def test_modules_loaded_by_every_dagster_process_import_no_computation():
    """The web server, the daemon and each run open the storage and the launcher that `dagster.yaml` names."""
    imported = modules_after(f"import {OURS}.orchestration.instance.storage, {OURS}.orchestration.instance.launcher")
    assert top_level_packages(imported).isdisjoint(ARITHMETIC | NOTIFYING | DRAWING)
    subpackages = {name.split(".")[1] for name in imported if is_inside(name, OURS) and name != OURS}
    assert subpackages <= {"orchestration", "postgres", "embedded", "errors", "gc_settings", "home", "settings"}


def test_run_imports_nothing_that_only_other_processes_need():
    """Every run loads the definitions, so an import that only a sensor or a command needs would slow down every run."""
    imported = modules_after(f"import {OURS}.definitions")
    assert {"pandas", "sqlalchemy"} <= top_level_packages(imported)
    assert top_level_packages(imported).isdisjoint(NOTIFYING | DRAWING)
    others = ("cli", "platform.sample", "platform.csv_files", "store.migrations")
    assert not [name for name in imported for other in others if is_inside(name, f"{OURS}.{other}")]


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (
            ["--help"],
            {"dagster", "alembic", "rich", "pydantic", "sqlalchemy", "psycopg2"} | ARITHMETIC | NOTIFYING | DRAWING,
        ),
        (
            ["materialize", "--help"],
            {"dagster", "alembic", "rich", "sqlalchemy", "psycopg2"} | ARITHMETIC | NOTIFYING | DRAWING,
        ),
        (["alerts", "--help"], {"dagster", "alembic", "rich", "psycopg2"} | ARITHMETIC | NOTIFYING | DRAWING),
        (["db", "url"], {"dagster", "alembic", "rich"} | ARITHMETIC | NOTIFYING | DRAWING),
        (["status"], {"dagster", "alembic"} | NOTIFYING | DRAWING),
    ],
)
def test_frequent_commands_import_only_what_they_need(
    arguments: list[str], unneeded: set[str], database_url: URL, tmp_path: Path
):
    """Importing Dagster takes seconds; importing Alembic takes as long as the rest of `status`."""
    environment = {
        "SNAPSHOT_DATABASE_URL": database_url.render_as_string(hide_password=False),
        "SNAPSHOT_HOME": str(tmp_path),
    }
    call = (
        f"import os\nos.environ.update({environment!r})\nsys.argv = ['snapshot-pipeline', *{arguments!r}]\n"
        f"from {OURS}.cli import main\ntry:\n    main()\n"
        "except SystemExit as ended:\n    assert ended.code in (None, 0, 3), ended"
    )
    migrate(create_engine(database_url), "public")
    imported = modules_after(call)
    assert f"{OURS}.cli" in imported
    assert top_level_packages(imported).isdisjoint(unneeded)


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes that are evaluated at import, so not the bodies of functions."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for evaluated in (*child.decorator_list, child.args):
                yield from at_import(evaluated)
        elif isinstance(child, ast.Lambda):
            yield from at_import(child.args)
        else:
            yield from at_import(child)


def test_import_reads_no_environment_variable():
    """Every module can be imported without settings; an invalid setting is reported by the code that needs it."""
    readers = {"load_settings", "Settings", "environ", "getenv"}
    calls = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in MODULES
        for node in at_import(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in readers - {"Settings"})
        or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in readers)
    ]
    assert calls == []


def test_no_test_reads_the_clock_at_import():
    """A day can end between import and test, and workers of pytest-xdist must collect tests of the same names."""
    readers = {"now", "today", "time"}
    calls = [
        f"{path.relative_to(TESTS)}:{node.lineno}"
        for path in TESTS.rglob("*.py")
        for node in at_import(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in readers
    ]
    assert calls == []
