"""``python -m issuebox``: the same as the `issuebox` command."""

from issuebox.cli import main

main()
