"""``python -m issuebox``: the same as the `issuebox` command."""

from issuebox.cli.app import main

main()
