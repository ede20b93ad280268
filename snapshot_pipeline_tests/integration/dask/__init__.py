"""A real Dask cluster: processes on loopback ports, killed for real."""
