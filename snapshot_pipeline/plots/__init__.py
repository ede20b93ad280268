"""Small plots of days and weeks in one style, for the Dagster UI and the weekly report.

Each function `draw_…` takes the figures of one plot and returns a `Plot`. Except `text`, importing a module imports
Matplotlib, which takes a second: import it where plots are drawn, not at the top. Queries belong to `store`.
"""
