"""How batches of results and large buffers travel between processes."""
