"""Pickle errors of workers with their causes and tracebacks.

Dask's own transport loses causes, fails on ADBC's errors, and logs messages that may quote students' rows.
"""

from __future__ import annotations

import copyreg
import pickle
import traceback
from dataclasses import dataclass, field
from typing import Any

import adbc_driver_manager

from snapshot_pipeline.errors import SnapshotPipelineError


class WorkerError(SnapshotPipelineError):
    """A worker's error that cannot be pickled; the worker's log has the details."""


@dataclass(frozen=True)
class RemoteError:
    """A pickled error with its causes, which decide whether it is transient.

    Attributes:
        chain: The error, its cause, the cause of that, and so on, each pickled.
        text: The traceback.
    """

    chain: tuple[bytes, ...] = field(repr=False)
    text: str = field(repr=False)

    @classmethod
    def of(cls, error: BaseException) -> RemoteError:
        """Pickle an error."""
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        chain: list[bytes] = []
        link: BaseException | None = error
        while link is not None:
            chain.append(_pickle(link))
            link = link.__cause__
        return cls(tuple(chain), text)

    def error(self) -> Exception:
        """The error, with the worker's traceback as its last cause."""
        links: list[BaseException] = [pickle.loads(link) for link in self.chain]  # noqa: S301  # from our own worker
        for link, cause in zip(links, [*links[1:], _WorkerTraceback(self.text)], strict=True):
            link.__cause__ = cause
        first = links[0]
        return first if isinstance(first, Exception) else WorkerError(str(first))


class _WorkerTraceback(Exception):  # only shown as a cause
    """The traceback of an error on the worker."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _pickle(error: BaseException) -> bytes:
    try:
        pickled = pickle.dumps(error)
        pickle.loads(pickled)  # noqa: S301  # our own; some errors can be pickled but not unpickled
    except Exception:  # noqa: BLE001  # any error means that a replacement is needed
        return pickle.dumps(WorkerError(f"{type(error).__name__}: {error}"))
    return pickled


def _adbc_error(
    kind: type[adbc_driver_manager.Error], message: str, keywords: dict[str, Any]
) -> adbc_driver_manager.Error:
    return kind(message, **keywords)


def _reduce_adbc_error(error: adbc_driver_manager.Error) -> tuple[Any, ...]:
    names = ("status_code", "vendor_code", "sqlstate", "details")
    return _adbc_error, (type(error), str(error), {name: getattr(error, name) for name in names})


# ADBC's errors take keyword arguments, which pickle does not restore by default.
_KINDS: list[type[adbc_driver_manager.Error]] = [adbc_driver_manager.Error]
_KINDS += [*adbc_driver_manager.Error.__subclasses__(), *adbc_driver_manager.DatabaseError.__subclasses__()]
for _kind in _KINDS:
    copyreg.pickle(_kind, _reduce_adbc_error)
