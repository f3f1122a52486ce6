"""The API over HTTP: `make_app` is its composition root, `serve` in `server.py` runs it."""
