"""What it means: pure functions of the log. Start reading in `projections.fold.pipeline`."""
