"""The command line: each command, what it prints, and its exit code. It calls `issuebox.temporal` and decides nothing.

Not here: HTTP (`api`), what runs on a developer's machine (`issuebox.dev`), the doctor's checks (`issuebox.doctor`).
"""
