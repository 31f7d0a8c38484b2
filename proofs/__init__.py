"""What shows that the promise holds: the checker, the model check, chaos, and others' algorithms. Not in the wheel.

Not here: measured figures (`bench`), and tests, which call these.
"""
