"""Shows comparisons: one self-contained page, or a table inside a notebook.

Reads records alone; never a cluster, never a clock, and computes no statistics.
"""
