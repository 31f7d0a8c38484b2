"""The promise under fire: every process killed, frozen and ended, every connection cut, every Daytona fault.

`python -m proofs.chaos --seed N` runs the whole of issuebox as processes of their own, disturbs it after a plan
that is a function of the seed, and lets `proofs.checker` decide from the outside whether the promise held.
"""
