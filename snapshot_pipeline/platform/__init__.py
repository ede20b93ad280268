"""The learning platform that we read: its tables, bulk reads, the contract and its check, sample data, CSV files.

Put here: everything that knows the platform's columns. Its tables are only ever read, but for those that `load` and the
sample data made themselves (`ownership`).
Do not put here: our own tables (`store`), or what the figures mean (`metrics`).
"""
