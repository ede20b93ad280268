"""A child of `snapshot-pipeline dev`: runs a module as `python -m` does, and ends when its parent has ended.

    python -m snapshot_pipeline.cli.supervised DESCRIPTOR MODULE ARGUMENT ...

The descriptor is the reading end of a pipe, whose other end only the parent holds: the kernel closes it however the
parent ends.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

GRACE_SECONDS = 5.0
"""How long a child may take to end by itself after its parent has gone."""


def main() -> None:
    """Run the module of the command line."""
    descriptor, module, *arguments = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for commands in the background
    threading.Thread(target=_end_with_parent, args=(int(descriptor),), daemon=True).start()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with_parent(descriptor: int) -> None:
    os.read(descriptor, 1)  # returns when the parent has closed its end; it never writes
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)


if __name__ == "__main__":
    main()
