"""``make bench``: what the promise costs. Each figure is measured, stored with its machine, and shown in the docs."""
