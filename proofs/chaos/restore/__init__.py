"""The restore scenario: Temporal's database is put back to an earlier moment, in the right way and in the wrong one.

`python -m proofs.chaos restore` runs the whole of issuebox without faults, copies the database of Temporal while it
serves, goes on, and puts the copy back: with all workers and APIs stopped, as docs/operations.md says, or with workers
that live on. Then an operator does what the documentation says, and the checker judges. Here belongs what only this
scenario needs; the processes, the load and the journal's watch are those of the chaos run.
"""
