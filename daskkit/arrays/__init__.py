"""NumPy arrays as items: blocks of an array, and blocks of random numbers."""
