"""A Dask cluster that works on batches.

Put here: all that knows Dask. It is imported only where a scheduler is named.
Do not put here: how an error travels (`travelling_errors`), or what must be the same on both sides (`versions`).

A batch travels as bytes that only our own code opens, and its outcome comes back as such: Dask sees a name and nothing
else, so no password and no student's row gets into its dashboard or its logs. Its workers need no settings. A worker
works on a batch only where the code and the libraries are those of the run, whenever it joined.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from snapshot_pipeline.errors import SnapshotPipelineError, text_to_send
from snapshot_pipeline.pipeline.batches import BatchTask
from snapshot_pipeline.pipeline.dask_cluster.remote_errors import RemoteError
from snapshot_pipeline.pipeline.dask_cluster.versions import Versions, differences, versions_here

CONNECT_SECONDS = 10.0
"""How long a scheduler may take to answer."""

WORKERS_SECONDS = 60.0
"""How long a cluster may be without any worker, at the beginning and later."""

_LOG = logging.getLogger(__name__)

Kind = TypeVar("Kind")


class ClusterError(SnapshotPipelineError):
    """A Dask cluster cannot be used as it is."""


class ClusterLostError(SnapshotPipelineError):
    """A Dask cluster is not there, or not any more; the same thing may well succeed when it is back."""

    transient = True


@contextmanager
def open_cluster(address: str) -> Iterator[Cluster]:
    """The cluster of a scheduler, with a worker at least, all of them with the versions that are here.

    Raises:
        ClusterError: The cluster cannot be used: Dask is not installed here, or versions differ.
        ClusterLostError: No scheduler answers, or no worker is there.
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
    # The last two: a certificate of tls:// is missing or wrong.
    except (OSError, asyncio.TimeoutError, ValueError, TypeError) as error:
        raise ClusterLostError(
            f"no Dask scheduler answers at {address} (SNAPSHOT_DASK_SCHEDULER) within {CONNECT_SECONDS:g} s: "
            f"{' '.join(str(error).split())}; start one by `dask scheduler`, or leave the setting unset"
        ) from None
    try:
        cluster = Cluster(client, address)
        cluster.await_workers()
        cluster.require_same_versions()
        _LOG.info("batches are worked on by the Dask cluster %s: %d threads", address, cluster.threads)
        with cluster:
            yield cluster
    finally:
        with suppress(OSError, asyncio.TimeoutError):
            client.close(timeout=CONNECT_SECONDS)


class Cluster(Executor):
    """A Dask cluster as an executor of tasks that have a name.

    Attributes:
        threads: How many it has, as far as is known.
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
        """Take back what has not begun; what has begun goes on where it is, and does not pass the run's fence."""
        self._ended.set()
        if self._open and self._client.status == "running":
            with suppress(OSError, asyncio.TimeoutError):
                self._client.cancel(list(self._open.values()))

    def submit(self, task: BatchTask[Kind], /) -> Future[list[Kind]]:  # type: ignore[override]  # tasks only
        """Hand a task to the cluster."""
        future: Future[list[Kind]] = Future()
        # The name is not enough: Dask takes two tasks of the same key for one, and an earlier run's may still be there.
        key = f"{task.name}, {self._run}"
        # No `retries`: a worker's death is not counted among them, and what a task raises was tried again by itself.
        sealed = Sealed(pickle.dumps(task))
        try:
            remote = self._client.submit(_work, sealed, self._versions, key=key, pure=False)
        except Exception as error:  # noqa: BLE001  # the client has given the scheduler up
            raise self._readable(error, task.name) from None
        self._open[future] = remote
        self._client.loop.add_callback(self._follow, future, remote, task.name)
        return future

    def await_workers(self) -> None:
        """Wait for the first worker.

        Raises:
            ClusterLostError: None has come.
        """
        deadline = time.monotonic() + WORKERS_SECONDS
        while not self._count_threads():
            if time.monotonic() >= deadline:
                raise ClusterLostError(
                    f"the Dask scheduler {self._address} has had no worker for {WORKERS_SECONDS:g} s; "
                    f"start some by `dask worker {self._address}`"
                )
            time.sleep(0.2)

    def require_same_versions(self) -> None:
        """See that the scheduler, which unpacks what it hands on, and all workers have what the run has.

        Raises:
            ClusterError: One has not; the message names it, the package and both versions.
        """
        try:
            found = {f"scheduler {self._address}": self._client.run_on_scheduler(versions_here)}
        except Exception as error:  # noqa: BLE001  # whatever it says, the scheduler could not run it
            found = {f"scheduler {self._address}": error}
        for worker, versions in sorted(self._client.run(versions_here, on_error="return").items()):
            found[f"worker {worker}"] = versions
        for place, versions in found.items():
            if isinstance(versions, OSError):
                continue  # it has just gone
            if not isinstance(versions, Mapping):
                raise ClusterError(
                    f"the Dask {place} cannot load snapshot_pipeline ({type(versions).__name__}: {versions}); "
                    f"install there what is here: snapshot_pipeline {self._versions['snapshot_pipeline']}"
                )
            require_same_versions(place, versions, self._versions)

    def _count_threads(self) -> int:
        self.threads = sum(self._client.nthreads().values())
        return self.threads

    def _watch_workers(self) -> None:
        last_seen = time.monotonic()
        while not self._ended.wait(1.0):
            with suppress(Exception):  # the scheduler is gone, or we are: each task hears of it by itself
                if self._client.status != "running" or self._count_threads():
                    last_seen = time.monotonic()
            if time.monotonic() - last_seen > WORKERS_SECONDS:
                self._give_up(
                    ClusterLostError(
                        f"the Dask cluster {self._address} has lost its last worker, and none has come back for "
                        f"{WORKERS_SECONDS:g} s; see the workers' logs, start some by `dask worker {self._address}`, "
                        "then start again: what is published stays"
                    )
                )

    def _give_up(self, error: Exception) -> None:
        for future in list(self._open):
            _fail(future, error)

    async def _follow(self, future: Future[Any], remote: Any, name: str) -> None:
        """Bring the outcome of one of Dask's futures home; in the client's own thread."""
        try:
            # A result that is lost with its worker is computed again, and waited for.
            sealed = await self._client.gather(remote, asynchronous=True)
            outcome = pickle.loads(sealed.content)  # noqa: S301  # our own worker's
        except BaseException as error:  # noqa: BLE001  # nobody else would see it
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
                f"{name}: {error.allowed_failures + 1} workers of the Dask cluster {self._address} died while they "
                f"worked on this batch, the last one {error.last_worker.address}; most often they had too little "
                "memory: see their logs, lower SNAPSHOT_BATCH_ROWS or give them more"
            )
        is_lost = isinstance(error, (OSError, asyncio.TimeoutError)) or type(error).__name__.endswith("CancelledError")
        if is_lost or self._client.status != "running":
            return ClusterLostError(
                f"{name}: the Dask scheduler {self._address} was lost, or has given the batch up; see its log, then "
                "start again: what is published stays"
            )
        return ClusterError(
            f"{name}: the Dask cluster {self._address} could not work on the batch: {type(error).__name__}: "
            f"{' '.join(str(error).split())}"
        )


def _fail(future: Future[Any], error: Exception) -> None:
    """Let a future that is not done yet, nor cancelled, raise an error."""
    if not future.done() and future.set_running_or_notify_cancel():
        future.set_exception(error)


@dataclass(frozen=True)
class Sealed:
    """Bytes that show nothing of what they hold: Dask prints arguments and results into its logs."""

    content: bytes = field(repr=False)


def _work(task: Sealed, expected: Versions) -> Sealed:
    """What a worker does with a task; it never raises."""
    try:
        require_same_versions(_this_worker(), versions_here(), expected)
        outcome = pickle.loads(task.content)()  # noqa: S301  # from the run, which may run any code here anyway
    except Exception as error:  # noqa: BLE001  # it is raised where the run is
        # For whoever looks at the worker: the run may be gone.
        _LOG.warning("a batch was given up: %s", text_to_send(error))
        outcome = RemoteError.of(error)
    return Sealed(pickle.dumps(outcome))


def _this_worker() -> str:
    from distributed import get_worker

    return f"worker {get_worker().address}"


def require_same_versions(place: str, found: Versions, expected: Versions) -> None:
    """See that a part of a cluster has what the run has.

    Raises:
        ClusterError: It has not; the message names the place, each package and both versions.
    """
    if differing := differences(found, expected):
        raise ClusterError(
            f"the Dask {place} has {differing}; figures could differ, so nothing is computed there: install the same "
            "versions on both sides, and start it again"
        )
