"""The slow reference: computes every published figure a second time, one student and one day at a time.

It follows `metrics.md` in plain Python and shares no code with `snapshot_pipeline`: no pandas, no NumPy, scores as
exact fractions. If it disagrees with the fast code, one of the two has a defect. The modules:

    rows.py             the platform's tables as plain rows, and the rows of one student with their local days
    days.py             the local day of an instant
    snapshots.py        `reference_day`: the snapshots and failures of one day
    summaries.py        `reference_summary`: the figures of a group of students on one day
    recommendations.py  `reference_week`: the recommendations of one week
    reading.py          `read_rows`: reads the plain rows from a database
    history_frames.py   converts the rows to the input frames of `compute_snapshots`
    week_frames.py      converts the rows to the input frames of `recommend`
    strategies.py       Hypothesis strategies: platforms with every edge case

A reader must be able to check this code against `metrics.md` line by line; it need not be fast.
"""
