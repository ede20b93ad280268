"""A realistic platform generated from a seed: for the demo, the tests and the benchmark.

`generate` creates a sample: the `catalog` of lessons, then chunk by chunk the `students` with their lessons, quiz
attempts and exercises, and the `invalid_rows`. Within a chunk nothing loops over students: how many lessons each of
them starts on each day is one Poisson draw over a dense students × days array, and the rows follow from that. The order
of the draws is part of what a seed means: another order gives another platform.

How tables are replaced in the database belongs to `platform.ownership`, a user's own rows to `platform.csv_files`.
"""

from snapshot_pipeline.platform.sample.generate import SamplePlatform, generate, generate_chunks, load_sample
from snapshot_pipeline.platform.sample.invalid_rows import AFFECTED_DAYS, KINDS
from snapshot_pipeline.platform.sample.options import CHUNK_STUDENT_DAYS, SampleError, SampleOptions

__all__ = [
    "AFFECTED_DAYS",
    "CHUNK_STUDENT_DAYS",
    "KINDS",
    "SampleError",
    "SampleOptions",
    "SamplePlatform",
    "generate",
    "generate_chunks",
    "load_sample",
]
