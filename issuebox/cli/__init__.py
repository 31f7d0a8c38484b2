"""The command line: each command, what it prints, and the exit codes. It asks `issuebox.temporal`, and decides nothing.

Not here: HTTP (`api`), what runs on a developer's machine (`issuebox.dev`), the examination (`issuebox.doctor`).
"""
