"""What it means: pure functions of the log. Start reading in `pipeline.py`."""
