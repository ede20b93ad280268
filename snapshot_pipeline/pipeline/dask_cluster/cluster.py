"""Dask clusters as executors of batches; imported only if SNAPSHOT_DASK_SCHEDULER names one.

Tasks and results are sent as bytes that only our code unpickles: Dask sees a name and nothing else, so neither
passwords nor students' rows appear in its dashboard or logs. Workers need no settings. A worker processes a batch only
if its code and libraries are those of the run, whenever it joined; Dask's own version check covers neither our code nor
later workers.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import logging
import pickle
import platform
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from snapshot_pipeline.errors import SnapshotPipelineError, text_to_send
from snapshot_pipeline.pipeline.batches import BatchTask
from snapshot_pipeline.pipeline.dask_cluster.remote_errors import RemoteError

CONNECT_SECONDS = 10.0
"""Timeout of a connection to the scheduler."""

WORKERS_SECONDS = 60.0
"""How long a cluster may have no worker, at the start and later."""

LIBRARIES = ("numpy", "pandas", "pyarrow", "adbc-driver-manager", "adbc-driver-postgresql", "sqlalchemy", "distributed")
"""Libraries that must have the same version everywhere, because figures or pickles depend on them."""

Versions = Mapping[str, str]
"""Versions by package."""

_LOG = logging.getLogger(__name__)

Kind = TypeVar("Kind")


class ClusterError(SnapshotPipelineError):
    """A Dask cluster cannot be used."""


class ClusterLostError(SnapshotPipelineError):
    """A Dask cluster is unreachable, or its workers are gone."""

    transient = True


@contextmanager
def open_cluster(address: str) -> Iterator[Cluster]:
    """Connect to a cluster that has a worker, and whose scheduler and workers have the versions of this process.

    Raises:
        ClusterError: The cluster cannot be used: Dask is not installed here, or versions differ.
        ClusterLostError: No scheduler answers, or there is no worker.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ClusterError(
            f"SNAPSHOT_DASK_SCHEDULER={address} needs Dask, which is not installed here; "
            "pip install 'snapshot_pipeline[dask]', or leave the setting unset"
        ) from None
    try:
        client: Any = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
    # ValueError and TypeError: a certificate of tls:// is missing or wrong.
    except (OSError, asyncio.TimeoutError, ValueError, TypeError) as error:
        raise ClusterLostError(
            f"no Dask scheduler answers at {address} (SNAPSHOT_DASK_SCHEDULER) within {CONNECT_SECONDS:g} s: "
            f"{' '.join(str(error).split())}; start one with `dask scheduler`, or leave the setting unset"
        ) from None
    try:
        cluster = Cluster(client, address)
        cluster.await_workers()
        cluster.require_same_versions()
        _LOG.info("batches run on the Dask cluster %s: %d threads", address, cluster.threads)
        with cluster:
            yield cluster
    finally:
        with suppress(OSError, asyncio.TimeoutError):
            client.close(timeout=CONNECT_SECONDS)


class Cluster(Executor):
    """A Dask cluster as an executor of named tasks.

    Attributes:
        threads: Number of worker threads, updated every second.
    """

    def __init__(self, client: Any, address: str) -> None:
        self._client = client
        self._address = address
        self._run = uuid.uuid4().hex[:8]
        self._versions = versions_here()
        self._open: dict[Future[Any], Any] = {}
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._watch_workers, name="dask workers", daemon=True)
        self.threads = 0

    def __enter__(self) -> Cluster:
        self._watch.start()
        return self

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Cancel tasks that have not started; those in progress continue, but can no longer publish."""
        self._ended.set()
        if self._open and self._client.status == "running":
            with suppress(OSError, asyncio.TimeoutError):
                self._client.cancel(list(self._open.values()))

    def submit(self, task: BatchTask[Kind], /) -> Future[list[Kind]]:  # type: ignore[override]  # tasks only
        future: Future[list[Kind]] = Future()
        # With the run: Dask takes two tasks with the same key for one, and one of an earlier run may still exist.
        key = f"{task.name}, {self._run}"
        # Without `retries`, which do not cover a worker's death; transient errors are retried within the task.
        payload = OpaqueBytes(pickle.dumps(task))
        try:
            remote = self._client.submit(_work, payload, self._versions, key=key, pure=False)
        except Exception as error:  # noqa: BLE001  # the client has lost the scheduler
            raise self._readable(error, task.name) from None
        self._open[future] = remote
        self._client.loop.add_callback(self._follow, future, remote, task.name)
        return future

    def await_workers(self) -> None:
        """Wait for the first worker.

        Raises:
            ClusterLostError: There is none within `WORKERS_SECONDS`.
        """
        deadline = time.monotonic() + WORKERS_SECONDS
        while not self._count_threads():
            if time.monotonic() >= deadline:
                raise ClusterLostError(
                    f"the Dask scheduler {self._address} has had no worker for {WORKERS_SECONDS:g} s; "
                    f"start some with `dask worker {self._address}`"
                )
            time.sleep(0.2)

    def require_same_versions(self) -> None:
        """Check that the scheduler, which unpickles tasks, and all workers have the versions of the run.

        Raises:
            ClusterError: One has not; the message names it, the package and both versions.
        """
        try:
            answers = {f"scheduler {self._address}": self._client.run_on_scheduler(versions_here)}
        except Exception as error:  # noqa: BLE001  # any error means that the scheduler cannot run our code
            answers = {f"scheduler {self._address}": error}
        for worker, versions in sorted(self._client.run(versions_here, on_error="return").items()):
            answers[f"worker {worker}"] = versions
        for place, versions in answers.items():
            if isinstance(versions, OSError):
                continue  # the worker has just left
            if not isinstance(versions, Mapping):
                raise ClusterError(
                    f"the Dask {place} cannot load snapshot_pipeline ({type(versions).__name__}: {versions}); "
                    f"install there the version of this run: snapshot_pipeline {self._versions['snapshot_pipeline']}"
                )
            require_same_versions(place, versions, self._versions)

    def _count_threads(self) -> int:
        self.threads = sum(self._client.nthreads().values())
        return self.threads

    def _watch_workers(self) -> None:
        last_seen = time.monotonic()
        while not self._ended.wait(1.0):
            with suppress(Exception):  # each task notices by itself that the scheduler is gone
                if self._client.status != "running" or self._count_threads():
                    last_seen = time.monotonic()
            if time.monotonic() - last_seen > WORKERS_SECONDS:
                error = ClusterLostError(
                    f"the Dask cluster {self._address} has lost its last worker, and has had none for "
                    f"{WORKERS_SECONDS:g} s; see the workers' logs, start some with `dask worker {self._address}`, "
                    "then start again: published batches are kept"
                )
                for future in list(self._open):
                    _fail(future, error)

    async def _follow(self, future: Future[Any], remote: Any, name: str) -> None:
        """Transfer the result of a Dask future to ours; runs in the client's thread."""
        try:
            # A result that is lost with its worker is computed again.
            payload = await self._client.gather(remote, asynchronous=True)
            outcome = pickle.loads(payload.content)  # noqa: S301  # our own worker's
        except BaseException as error:  # noqa: BLE001  # otherwise the error would be lost
            outcome = self._readable(error, name)
        else:
            if isinstance(outcome, RemoteError):
                outcome = outcome.error()
        self._open.pop(future, None)
        if isinstance(outcome, Exception):
            _fail(future, outcome)
        elif not future.done() and future.set_running_or_notify_cancel():
            future.set_result(outcome)

    def _readable(self, error: BaseException, name: str) -> Exception:
        from distributed import KilledWorker

        if isinstance(error, KilledWorker):
            return ClusterError(
                f"{name}: {error.allowed_failures + 1} workers of the Dask cluster {self._address} died while "
                f"processing this batch, the last one {error.last_worker.address}; most often they run out of memory: "
                "see their logs, lower SNAPSHOT_BATCH_ROWS or give them more"
            )
        is_lost = isinstance(error, (OSError, asyncio.TimeoutError)) or type(error).__name__.endswith("CancelledError")
        if is_lost or self._client.status != "running":
            return ClusterLostError(
                f"{name}: the Dask scheduler {self._address} was lost, or has canceled the batch; see its log, then "
                "start again: published batches are kept"
            )
        return ClusterError(
            f"{name}: the Dask cluster {self._address} could not process the batch: {type(error).__name__}: "
            f"{' '.join(str(error).split())}"
        )


def _fail(future: Future[Any], error: Exception) -> None:
    """Set the error of a future, unless it is done or canceled."""
    if not future.done() and future.set_running_or_notify_cancel():
        future.set_exception(error)


@dataclass(frozen=True)
class OpaqueBytes:
    """Bytes with an empty `repr`, because Dask logs arguments and results."""

    content: bytes = field(repr=False)


def _work(task: OpaqueBytes, expected: Versions) -> OpaqueBytes:
    """Run a task on a worker; never raises."""
    try:
        from distributed import get_worker

        require_same_versions(f"worker {get_worker().address}", versions_here(), expected)
        outcome = pickle.loads(task.content)()  # noqa: S301  # from the run, which can run any code here anyway
    except Exception as error:  # noqa: BLE001  # raised again in the run's process
        # Logged for the operator of the worker, because the run may be gone.
        _LOG.warning("a batch failed: %s", text_to_send(error))
        outcome = RemoteError.of(error)
    return OpaqueBytes(pickle.dumps(outcome))


@cache
def versions_here() -> Versions:
    """The versions in this process: Python, our code, and the libraries that figures depend on."""
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "snapshot_pipeline": f"{_version_of('snapshot_pipeline')} (code {_hash_code()})",
        **{name: _version_of(name) for name in LIBRARIES},
    }


def require_same_versions(place: str, versions: Versions, expected: Versions) -> None:
    """Check that a part of a cluster has the versions of the run.

    Raises:
        ClusterError: It has not; the message names the place, each package and both versions.
    """
    differing = [name for name in expected if versions.get(name) != expected[name]]
    if differing:
        listed = ", ".join(f"{name} {versions.get(name)} instead of {expected[name]}" for name in differing)
        raise ClusterError(
            f"the Dask {place} has {listed}; figures could differ, so nothing is computed there: install the same "
            "versions on both sides, and restart it"
        )


def _version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed as a package"


def _hash_code() -> str:
    """A short digest of our code, which distinguishes two commits of one version."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]
