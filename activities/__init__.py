"""Temporal activities: reads and commands at Daytona and GitHub, through injected providers.

Nothing here imports the Daytona SDK or decides anything.
"""
