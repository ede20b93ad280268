"""The arithmetic of docs/metrics.md: pure functions of frames and arrays, vectorized over students and days.

One module per figure, local days, grids, invalid rows, and `snapshot`, which combines them for a batch of students.
Imports NumPy and pandas and nothing else of ours: reading belongs to `platform`, publishing to `store`.
"""
