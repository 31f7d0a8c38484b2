"""The get-or-create algorithms of other projects under the same deliveries and the same faults as issuebox.

Each is rewritten from a description of the project: the algorithm as read at a date, not the product.
"""
