"""A local server that speaks enough of Daytona's API for the unmodified Python SDK.

Nothing here may import anything of issuebox, the Daytona SDK or Temporal: it is to be able to
leave as a package of its own. It is a tool for development and tests, and no security boundary.
"""
