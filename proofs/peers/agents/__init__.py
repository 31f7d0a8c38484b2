"""The ways in which other projects start an agent in a sandbox, under the same requests and faults as issuebox.

Each is rewritten from a description of the projects: the algorithm as read at a date, not a product. Not here: how a
sandbox is got or created, which is `proofs.peers.algorithms`.
"""
