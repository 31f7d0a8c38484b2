"""What runs issuebox on one machine: `issuebox dev` and `issuebox demo`, their processes, and mock deliveries.

Not here: anything that an installation needs when its parts run elsewhere.
"""
