"""Workloads as lazy Dask collections; builds graphs, executes nothing."""
