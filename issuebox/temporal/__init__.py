"""The client side of Temporal: the connection, the one client of an issue's workflow, the one reader of the index.

Not here: workflows and activities, which run on workers.
"""
