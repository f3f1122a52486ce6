"""The fold of the journal: start reading in `pipeline`."""
