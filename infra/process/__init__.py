"""What every process needs of its surroundings: settings, logs, metrics, addresses, tokens."""
