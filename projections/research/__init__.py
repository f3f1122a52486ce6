"""A strategy over recorded history, in compiled loops and exact integers.

A second, independent implementation of what the fold does with a bot; and what a run is worth, in numbers.
"""
