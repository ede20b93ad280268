"""How often Python looks for garbage that only a collector finds.

Put here: nothing else. A process of ours or of Dagster first imports some two thousand modules, all of which are there
to stay, and by default the collector looks through them again and again meanwhile: a tenth of the processor time of a
short run. See https://docs.python.org/3/library/gc.html.
"""

from __future__ import annotations

import gc

OBJECTS = 50_000
"""How many more containers are made than freed before the young ones are looked through; by default 700 to 2,000.

Frames and arrays are freed when nothing refers to them any more, without the collector; what waits for it is small.
"""


def collect_rarely() -> None:
    """Look through what is made from now on, and seldom; what is there by now is never looked through again."""
    gc.freeze()
    gc.set_threshold(OBJECTS, *gc.get_threshold()[1:])
