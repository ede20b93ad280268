"""What holds for any PostgreSQL database: URLs and engines, bulk transfers as Arrow, errors and retries.

Queries belong to `platform` and `store`, the private server to `embedded`.
"""
