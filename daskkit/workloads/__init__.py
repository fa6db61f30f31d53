"""Workloads out of Python sequences, NumPy arrays and pandas objects."""
