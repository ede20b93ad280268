"""A life-like platform made up from a seed: for the demo, the tests and the benchmark.

Put here: what the made-up students do, the rows that this leaves on the platform, and the rows planted to be wrong.
Do not put here: how rows enter the database (`ownership`), or rows that a user brings along (`csv_files`).

`chunks` puts a sample together: the `calendar` and the `catalogue` of lessons, then chunk by chunk the `people`, their
`studies`, their quiz `attempts` and exercises, and the `faults`. Within a chunk nothing loops over students: how many
lessons each student starts on each day is one Poisson draw over a dense students-by-days array, and the rows follow
from that.
"""

from snapshot_pipeline.platform.sample.chunks import SamplePlatform, generate, generate_chunks
from snapshot_pipeline.platform.sample.invalid_rows import CLOSED_DAYS_SPOILED, PLANTED_REASONS
from snapshot_pipeline.platform.sample.loading import load_sample
from snapshot_pipeline.platform.sample.options import CHUNK_CELLS, SampleError, SampleOptions

__all__ = [
    "CHUNK_CELLS",
    "CLOSED_DAYS_SPOILED",
    "PLANTED_REASONS",
    "SampleError",
    "SampleOptions",
    "SamplePlatform",
    "generate",
    "generate_chunks",
    "load_sample",
]
