"""The slow reference: every published figure again, one student and one day at a time, in plain Python.

It is written from `metrics.md` alone and shares no code with `snapshot_pipeline`: no pandas, no NumPy, scores as exact
fractions. What the fast code and this package disagree on is a defect of one of them. The rooms:

    rows.py             the platform's tables as plain rows, and each student's own rows with their local days
    days.py             which local day an instant belongs to
    snapshots.py        `reference_day`: the snapshots and failures of one day
    recommendations.py  `reference_week`: the recommendations of one week
    reading.py          `read_rows`: the plain rows out of a real database
    history_frames.py   the same rows as the frames of `compute_snapshots`, and
    week_frames.py      as those of `recommend`: the only rooms that know pandas
    strategies.py       Hypothesis: platforms with every edge

Put here: what can be checked against `metrics.md` line by line by a reader. Do not put here: anything made faster at
the cost of that, or anything imported from the code under test.
"""
