"""pandas objects as items: the row, the group, the window and the element.

pandas itself decides what comes back. Each verb calls pandas' own method, in which one
inner loop, over rows or groups, is replaced by one that runs in parallel.
"""
