"""Comparing back ends honestly: measuring, statistics, verdicts.

Called `comparison` and not `compare`, because a package `daskkit.compare` would hide
the function `daskkit.compare`.
"""
