"""The chaos run: every process killed, frozen and terminated, every connection cut, every fault of Daytona injected.

`python -m proofs.chaos --seed N` runs all of issuebox as separate processes and disturbs it by a plan that depends on
the seed alone. Then `proofs.checker` decides from the outside whether the promise held.
"""
