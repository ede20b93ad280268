"""Loaded by Python at its start in the fault tests: the processes of runs are forked from one that imported everything.

Dagster's code server starts a new interpreter for each run, and its imports take longer than a run of these tests.
"""

import multiprocessing
import sys
from multiprocessing.context import BaseContext

_get_context = multiprocessing.get_context


def get_context(method: str | None = None) -> BaseContext:
    """Return a context that forks instead of one that starts interpreters."""
    if method != "spawn":
        return _get_context(method)
    context = _get_context("forkserver")
    context.set_forkserver_preload(
        [
            "dagster._grpc.impl",
            "snapshot_pipeline.definitions",
            "snapshot_pipeline.orchestration.instance.launcher",
            "snapshot_pipeline.orchestration.instance.storage",
        ]
    )
    return context


if sys.orig_argv[1:5] == ["-m", "dagster", "api", "grpc"]:
    multiprocessing.get_context = get_context
