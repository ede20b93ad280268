"""Objects that do not fit into memory all at once, in a temporary file."""

from __future__ import annotations

import pickle
import tempfile
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Spool(Generic[Item]):
    """A sequence of picklable objects in a file that is deleted when it is closed, or when the process ends.

    Items are read again with each iteration, by any thread. The file is in the system's temporary directory (`TMPDIR`),
    readable by its owner only.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`
        self._positions: list[int] = []
        self._lock = threading.Lock()

    def append(self, item: Item) -> None:
        """Add an item at the end."""
        self._positions.append(self._file.seek(0, 2))
        pickle.dump(item, self._file, protocol=pickle.HIGHEST_PROTOCOL)

    def __iter__(self) -> Iterator[Item]:
        for position in self._positions:
            with self._lock:
                self._file.seek(position)
                item = pickle.load(self._file)  # noqa: S301  # written above, by this process
            yield item

    def close(self) -> None:
        """Delete the file."""
        self._file.close()
