"""Checks the promise on real parts: ``make demo``. See `issuebox.dev.demo.run`."""
