"""The tables that we own: their shape, their migrations, how a batch is published into them and read from them.

Put here: everything that knows the columns of our tables.
Do not put here: the platform's tables (`platform`), or what the figures mean (`metrics`, `recommendations`).
"""
