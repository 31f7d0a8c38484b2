"""Temporal workflows: the loop that looks, decides from a table, acts once, and looks again.

Everything here is deterministic: no I/O, no clock but ``workflow.now()``, no settings but those that
an activity returned.
"""
