"""Where it is kept and carried: settings, exchanges, databases, workers."""
