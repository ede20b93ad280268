"""Print the slowest tests of several pytest runs, from their JUnit files."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree

COUNT = 15


def durations(path: str) -> list[tuple[float, str]]:
    """The seconds (set-up and teardown included) and name of each test in a JUnit file."""
    cases = ElementTree.parse(path).iter("testcase")  # noqa: S314 - written by our own pytest
    return [(float(case.get("time", 0)), f"{case.get('classname')}::{case.get('name')}") for case in cases]


if __name__ == "__main__":
    tests = sorted((test for path in sys.argv[1:] for test in durations(path)), reverse=True)
    print(f"The {min(COUNT, len(tests))} slowest of {len(tests)} tests:")
    for seconds, name in tests[:COUNT]:
        print(f"{seconds:7.1f} s  {name}")
