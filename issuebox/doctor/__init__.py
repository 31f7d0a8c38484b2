"""The checks of `issuebox doctor`. They change nothing, except `temporal.examine` with `is_fixing`."""
