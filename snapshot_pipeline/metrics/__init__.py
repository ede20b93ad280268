"""The arithmetic of `metrics.md`: pure functions of frames and arrays, vectorized over students and days.

Put here: one module a figure (`pace`, `quiz_average`), the rows that cannot be right (`faults`), local days (`days`),
and `snapshot`, which puts them together for a batch of students. Knows NumPy and pandas and nothing else of ours.
Do not put here: reading, publishing, settings, Dagster.
"""
