"""Temporal workflows: the entity workflow of an issue with its loop, and the two sweeps, resync and audit.

Everything here is deterministic: no I/O, no clock but ``workflow.now()``, no settings but those that
an activity returned.
"""
