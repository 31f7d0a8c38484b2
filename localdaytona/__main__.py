"""`python -m localdaytona` is the same as `localdaytona`."""

from localdaytona.cli import app

app()
