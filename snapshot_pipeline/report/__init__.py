"""The weekly page: the figures of a week, in words, in six pictures and three tables, as one HTML file.

    figures (what the tables hold) ──▶ words (sentences) ─┐
                                   ──▶ plots (pictures) ──┼──▶ page (HTML)
                                   ──▶ tables ────────────┘

Put here: what the page says and how it looks. Pure: figures in, text out.
Do not put here: where the figures come from (`store.summaries`), or where the page is kept (`pipeline.weekly_report`).
"""
