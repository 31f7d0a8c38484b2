"""The promise, shown on real parts: ``make demo``. See `issuebox.dev.demo.__main__`."""
