"""Runs through every interleaving of the real workflow with a small model of Daytona, up to a stated bound.

Real is what decides: the workflow's loop, its reconciliations, its memory and its tables. Modelled is what they meet:
Daytona's rows (moved by localdaytona's own tables), activities that are tried at least once, deliveries, a
person, and faults. Deterministic: there is no seed.
"""
