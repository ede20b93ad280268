"""What must be the same wherever a batch is computed, because figures, or what travels, depend on it.

Put here: which versions these are, and how two sides differ. Do not put here: what follows from a difference
(`dask_cluster`).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path

LIBRARIES = ("numpy", "pandas", "pyarrow", "adbc-driver-manager", "adbc-driver-postgresql", "sqlalchemy", "distributed")
"""The libraries among them."""

Versions = Mapping[str, str]
"""By package."""


@cache
def versions_here() -> Versions:
    """What this process would compute with: Python, our code, and the libraries that figures depend on."""
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "snapshot_pipeline": f"{_version_of('snapshot_pipeline')} (code {_code()})",
        **{name: _version_of(name) for name in LIBRARIES},
    }


def differences(found: Versions, expected: Versions) -> str:
    """In words, what one side has instead of what it should have; empty where it has the same."""
    differing = [name for name in expected if found.get(name) != expected[name]]
    return ", ".join(f"{name} {found.get(name)} instead of {expected[name]}" for name in differing)


def _version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed as a package"


def _code() -> str:
    """A short fingerprint of our code: two commits of one version are not the same."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]
