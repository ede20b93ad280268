"""Where batches are worked on: by threads of this process, or by the workers of a Dask cluster.

Put here: all that knows Dask. It is imported only where a scheduler is named.
Do not put here: what is done with a batch (`snapshots`, `recommendations`), or what keeps a worker from publishing what
it may not (`store.fences`).

A batch travels as bytes that only our own code opens, and its outcome comes back as such: Dask sees a name and nothing
else, so no password and no student's row gets into its dashboard or its logs. Its workers need no settings. A worker
works on a batch only where the code and the libraries are those of the run, whenever it joined.
"""

from __future__ import annotations

import asyncio
import copyreg
import hashlib
import importlib.metadata
import logging
import pickle
import platform
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import adbc_driver_manager
import numpy as np
from numpy.typing import NDArray

from snapshot_pipeline.errors import SnapshotPipelineError, text_to_send
from snapshot_pipeline.pipeline.batches import (
    Batch,
    BatchTask,
    BatchWork,
    cut,
    ignore_batch,
    keep_nothing,
    work_through,
)
from snapshot_pipeline.settings import Settings

CONNECT_SECONDS = 10.0
"""How long a scheduler may take to answer."""

WORKERS_SECONDS = 60.0
"""How long a cluster may be without any worker, at the beginning and later."""

BATCHES_PER_THREAD = 4
"""Batches for each thread of a cluster, so that a slow one, or one that dies, does not leave the others idle."""

LIBRARIES = ("numpy", "pandas", "pyarrow", "adbc-driver-manager", "adbc-driver-postgresql", "sqlalchemy", "distributed")
"""What must be the same on both sides, because figures, or what travels, depend on it."""

_LOG = logging.getLogger(__name__)

Kind = TypeVar("Kind")
Versions = Mapping[str, str]


class ClusterError(SnapshotPipelineError):
    """A Dask cluster cannot be used as it is."""


class ClusterLostError(SnapshotPipelineError):
    """A Dask cluster is not there, or not any more; the same thing may well succeed when it is back."""

    passes = True


class WorkerError(SnapshotPipelineError):
    """What a worker raised cannot travel; its log has all of it."""


@dataclass(frozen=True)
class Workplace:
    """Where the batches of one run are worked on.

    Attributes:
        executor: Works on batches.
        aside: Threads of this process, for what must not travel.
        most_at_once: How many batches the executor is given before the first of them is done.
        lanes: How many batches there should be at least, so that nobody stands idle.
        cells: The budget of one batch.
    """

    executor: Executor
    aside: Executor
    most_at_once: Callable[[], int]
    lanes: int
    cells: int

    def cut(self, user_ids: NDArray[np.int64], cells_per_student: int) -> list[Batch]:
        """Cut students into batches within the budget, and small enough that everybody has some."""
        return cut(user_ids, cells_per_student, self.cells, self.lanes)

    def work_through(
        self,
        batches: Sequence[Batch],
        work: BatchWork[Kind],
        keep_held: Callable[[], None] = keep_nothing,
        batch_done: Callable[[Batch], None] = ignore_batch,
    ) -> Iterator[Kind]:
        """Work on all batches here, see `batches.work_through`."""
        return work_through(batches, work, self.executor, keep_held, self.most_at_once, batch_done)


@contextmanager
def open_workplace(settings: Settings) -> Iterator[Workplace]:
    """The place that the settings ask for; what has not begun is given up at the end.

    Raises:
        ClusterError: The cluster cannot be used: Dask is not installed here, or versions differ.
        ClusterLostError: No scheduler answers, or no worker is there.
    """
    if settings.dask_scheduler is None:
        with open_local_workplace(settings) as place:
            yield place
        return
    with _cluster(settings.dask_scheduler) as cluster, ThreadPoolExecutor(1) as aside:
        lanes = cluster.threads * BATCHES_PER_THREAD
        yield Workplace(cluster, aside, lambda: max(cluster.threads, 1) * 2, lanes, settings.batch_cells)


@contextmanager
def open_local_workplace(settings: Settings) -> Iterator[Workplace]:
    """Threads of this process, whatever the settings ask for: for what is too small to travel."""
    with ThreadPoolExecutor(settings.workers) as pool:
        yield Workplace(pool, pool, lambda: settings.workers * 2, settings.workers, settings.batch_cells)


@contextmanager
def _cluster(address: str) -> Iterator[_Cluster]:
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
        cluster = _Cluster(client, address)
        cluster.await_workers()
        cluster.require_same_versions()
        _LOG.info("batches are worked on by the Dask cluster %s: %d threads", address, cluster.threads)
        with cluster:
            yield cluster
    finally:
        with suppress(OSError, asyncio.TimeoutError):
            client.close(timeout=CONNECT_SECONDS)


class _Cluster(Executor):
    """A Dask cluster as an executor of tasks that have a name."""

    def __init__(self, client: Any, address: str) -> None:
        self._client = client
        self._address = address
        self._run = uuid.uuid4().hex[:8]
        self._versions = versions_here()
        self._open: dict[Future[Any], Any] = {}
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._watch_workers, name="dask workers", daemon=True)
        self.threads = 0

    def __enter__(self) -> _Cluster:
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
            if isinstance(outcome, Raised):
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
                "memory: see their logs, lower SNAPSHOT_BATCH_CELLS or give them more"
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
        outcome = Raised.of(error)
    return Sealed(pickle.dumps(outcome))


def _this_worker() -> str:
    from distributed import get_worker

    return f"worker {get_worker().address}"


@dataclass(frozen=True)
class Raised:
    """An error as it travels, with its causes: whether it passes is a question to the cause.

    Attributes:
        chain: The error, its cause, the cause of that, and so on; each pickled.
        text: The traceback.
    """

    chain: tuple[bytes, ...] = field(repr=False)
    text: str = field(repr=False)

    @classmethod
    def of(cls, error: BaseException) -> Raised:
        """Pack an error."""
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        chain: list[bytes] = []
        link: BaseException | None = error
        while link is not None:
            chain.append(_packed(link))
            link = link.__cause__
        return cls(tuple(chain), text)

    def error(self) -> Exception:
        """Unpack it; what the worker's traceback was stands at the end of its causes."""
        links: list[BaseException] = [pickle.loads(one) for one in self.chain]  # noqa: S301  # our own worker's
        for link, cause in zip(links, [*links[1:], _WorkerTraceback(self.text)], strict=True):
            link.__cause__ = cause
        first = links[0]
        return first if isinstance(first, Exception) else WorkerError(str(first))


class _WorkerTraceback(Exception):  # no error, but what is shown of one
    """The traceback of an error, as it was where it was raised."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _packed(error: BaseException) -> bytes:
    try:
        packed = pickle.dumps(error)
        pickle.loads(packed)  # noqa: S301  # just packed; some can be packed and not unpacked
    except Exception:  # noqa: BLE001  # whatever it says, another one must travel in its place
        return pickle.dumps(WorkerError(f"{type(error).__name__}: {error}"))
    return packed


def _adbc_error(
    kind: type[adbc_driver_manager.Error], message: str, keywords: dict[str, Any]
) -> adbc_driver_manager.Error:
    return kind(message, **keywords)


def _reduce_adbc_error(error: adbc_driver_manager.Error) -> tuple[Any, ...]:
    names = ("status_code", "vendor_code", "sqlstate", "details")
    return _adbc_error, (type(error), str(error), {name: getattr(error, name) for name in names})


# Theirs take keywords only, which pickle does not know of.
for _kind in (
    adbc_driver_manager.Error,
    adbc_driver_manager.InterfaceError,
    adbc_driver_manager.DatabaseError,
    adbc_driver_manager.DataError,
    adbc_driver_manager.OperationalError,
    adbc_driver_manager.IntegrityError,
    adbc_driver_manager.InternalError,
    adbc_driver_manager.ProgrammingError,
    adbc_driver_manager.NotSupportedError,
):
    copyreg.pickle(_kind, _reduce_adbc_error)


@cache
def versions_here() -> Versions:
    """What this process would compute with: Python, our code, and the libraries that figures depend on."""
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "snapshot_pipeline": f"{_version_of('snapshot_pipeline')} (code {_code()})",
        **{name: _version_of(name) for name in LIBRARIES},
    }


def require_same_versions(place: str, found: Versions, expected: Versions) -> None:
    """See that a part of a cluster has what the run has.

    Raises:
        ClusterError: It has not; the message names the place, each package and both versions.
    """
    differing = [name for name in expected if found.get(name) != expected[name]]
    if differing:
        versions = ", ".join(f"{name} {found.get(name)} instead of {expected[name]}" for name in differing)
        raise ClusterError(
            f"the Dask {place} has {versions}; figures could differ, so nothing is computed there: install the same "
            "versions on both sides, and start it again"
        )


def _version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed as a package"


def _code() -> str:
    """A short fingerprint of our code: two commits of one version are not the same."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]
