"""The log in one SQLite file, and Faust on it."""
