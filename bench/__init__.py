"""Benchmarks: ``make bench`` measures, ``docs/benchmarks/`` keeps the results.

A part is a module with ``measure(options) -> Result``, listed in `bench.parts`. All ratios of a part come from
one run, in which the things compared take turns.
"""
