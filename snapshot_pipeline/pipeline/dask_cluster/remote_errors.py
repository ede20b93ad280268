"""Errors that travel from one machine to another, with their causes and their tracebacks.

Put here: how an error becomes bytes, and becomes an error again. Do not put here: which errors there are, or what is
done about one (`postgres.errors`).
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
    """What a worker raised cannot travel; its log has all of it."""


@dataclass(frozen=True)
class RemoteError:
    """An error as it travels, with its causes: whether it passes is a question to the cause.

    Attributes:
        chain: The error, its cause, the cause of that, and so on; each pickled.
        text: The traceback.
    """

    chain: tuple[bytes, ...] = field(repr=False)
    text: str = field(repr=False)

    @classmethod
    def of(cls, error: BaseException) -> RemoteError:
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
