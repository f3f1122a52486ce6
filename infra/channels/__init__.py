"""Channels: what of the durable events goes to Redis and sockets, counted, and read again."""
