"""Research at a home: what is kept for it on disk, and what it says."""
