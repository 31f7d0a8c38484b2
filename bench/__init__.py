"""Measured figures: what the promise costs. Not in the wheel.

Not here: what shows that the promise holds (`proofs`).
"""
