"""Measured figures: what the promise costs. Not in the wheel.

Not here: what checks that the promise holds (`proofs`).
"""
