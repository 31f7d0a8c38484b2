"""What `issuebox doctor` looks at. Nothing here changes anything but `temporal.examine` with `is_fixing`."""
