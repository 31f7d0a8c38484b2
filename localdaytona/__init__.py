"""A local server that speaks enough of Daytona's API for the unmodified Python SDK.

Nothing here may import issuebox, the Daytona SDK or Temporal, so that it can become a separate
package. It is a tool for development and tests, and no security boundary.
"""
