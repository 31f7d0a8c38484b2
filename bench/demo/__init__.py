"""The promise, shown on real parts: ``make demo``. See `bench.demo.__main__`."""
