"""Our tables: definitions, migrations, publication, queries, locks and retention.

One module for each published thing, and everything that knows the columns of our tables. The platform's tables belong
to `platform`, the meaning of the figures to `metrics` and `recommendations`.
"""
