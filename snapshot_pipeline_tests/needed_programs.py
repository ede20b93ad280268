"""Programs beside Python that a test needs: a Redis, a browser.

Put here: how one is found, and what follows where it is missing. Do not put here: starting it.
"""

from __future__ import annotations

import os
import shutil

import pytest


def needed_program(name: str, remediation: str) -> str:
    """The path of a program; where it is missing the test is skipped, and fails in CI, which must not miss any.

    Args:
        name: As it is found on PATH.
        remediation: How to get it, such as `apt-get install redis-server`.
    """
    found = shutil.which(name)
    if found is None:
        message = f"the program {name} is not on PATH; get it by `{remediation}`"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found
