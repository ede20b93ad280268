"""Small plots of days and weeks in one style, for the Dagster UI and the weekly report.

Each module has one plot: a frozen dataclass of its figures, and `draw`, which returns a `Plot`. Except `text`,
importing a module imports Matplotlib, which takes a second: import it where plots are drawn, not at the top. Queries
belong to `store`.
"""
