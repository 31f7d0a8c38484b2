"""Temporal activities: looking at a provider and acting on it, with the provider injected.

Nothing here imports the Daytona SDK or decides anything.
"""
