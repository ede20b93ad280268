"""The learning platform: its tables, bulk reads, the contract and its check, sample data, CSV files.

Everything that knows the platform's columns belongs here. The tables are only read, except for those that `load` and
`sample` created (`ownership`). The pipeline's own tables belong to `store`, the meaning of the figures to `metrics`.
"""
