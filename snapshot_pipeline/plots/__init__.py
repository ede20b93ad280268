"""Small pictures of days and weeks, in one style, for the Dagster UI and the weekly page.

Each module holds one picture: a frozen dataclass of its figures, and `draw`, which makes a `Plot` of them.

Put here: what is drawn, and how it looks (`style`), and how it becomes a small SVG (`plot`).
Do not put here: where the figures come from (`store`), or where a picture is shown (`orchestration`, `report`).
Importing any of these modules imports Matplotlib, which takes a second: import them where one draws, not at the top.
"""
