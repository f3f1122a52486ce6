"""What happened: events, their bytes, and the logs that keep them."""
