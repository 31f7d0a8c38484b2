"""Decides from the outside whether the promise was kept: from Daytona's journal, Temporal's histories and the
sender's own notes. Imports nothing of issuebox, and does not rely on what issuebox reports about itself."""
