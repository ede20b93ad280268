"""A real Dask cluster: processes on loopback ports, which tests kill."""
