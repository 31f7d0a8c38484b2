"""Runs through every interleaving of the real workflow with a small model of Daytona, up to a stated bound.

What decides is real: the workflow's loop, its reconciliations, its memory and its tables. What surrounds them is
modelled: Daytona's rows (moved by localdaytona's own tables), activities that are tried at least once, deliveries, a
person, and faults. The check is deterministic, without a seed.
"""
