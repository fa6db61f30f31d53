"""Back ends: each runs a workload with one library, in one small file.

`base` holds the contract, `registry` the list of names; nothing is imported before
it is used.
"""
