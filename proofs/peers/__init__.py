"""The get-or-create algorithms of other projects under the same deliveries and the same faults as issuebox.

Each is written anew from a description of what the project does: the algorithm as read at a date, not the product.
"""
