"""Every door: the command line today, HTTP and WebSockets next."""
