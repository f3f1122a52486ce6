"""Exchanges of the world through ccxt: each trade once, in order, or a `Gap` that says which are missing."""
