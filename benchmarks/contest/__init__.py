"""What `benchmarks/verbs.py` consists of: workloads, contestants and their races."""
