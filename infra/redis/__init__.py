"""Redis: the mirror of the channels, and the bundled server."""
