"""The weekly report: the figures of a week as sentences, six plots and three tables, in one HTML file.

    figures (read from our tables) ──▶ words (sentences) ─┐
                                   ──▶ plots (SVG) ───────┼──▶ page (HTML)
                                   ──▶ tables ────────────┘

Pure: figures in, text out. Queries belong to `store`, files to `pipeline.weekly_report`.
"""
