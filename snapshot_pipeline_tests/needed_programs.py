"""Programs other than Python that tests need, such as Redis or a browser."""

from __future__ import annotations

import os
import shutil

import pytest


def needed_program(name: str, remediation: str, search_path: str | None = None) -> str:
    """Return the path of a program; skip the test if it is missing, or fail it in CI.

    Args:
        name: Name of the program on PATH.
        remediation: How to get it, such as `apt-get install redis-server`.
        search_path: The directories to search, if not those of PATH.
    """
    path = shutil.which(name, path=search_path)
    if path is None:
        message = f"the program {name} is not on PATH; get it by `{remediation}`"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path
