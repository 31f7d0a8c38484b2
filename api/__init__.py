"""The FastAPI shim: GitHub's webhooks and REST in, signals, updates and queries out.

It keeps no state and decides nothing. It reaches workflows by name, so it imports neither their code
nor the Daytona SDK.
"""
