"""Executing workloads: clusters, plans, batches and the loop that feeds workers."""
