"""What issuebox knows and decides, as plain data and pure functions.

Nothing in this package does I/O, reads a clock, an environment variable or a setting, or imports
Temporal, FastAPI or the Daytona SDK. That is why its tests need no mocks and why the workflow may
import all of it.
"""
