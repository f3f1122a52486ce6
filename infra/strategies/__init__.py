"""Strategy code: found, kept and run again for its indicators."""
