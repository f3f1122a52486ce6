"""Proof that what is recorded is what the fold makes."""
