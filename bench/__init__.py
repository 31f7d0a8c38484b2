"""What shows and measures issuebox from outside: the demo, and later benchmarks and chaos."""
