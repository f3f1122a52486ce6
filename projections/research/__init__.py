"""A strategy over recorded history, in compiled loops and exact integers: a second, independent implementation
of what the fold does with a bot, and what it is worth."""
