"""The database: a projection of the derived streams, with the positions it has reached in the same rows."""
