"""The one JSON form and the one column form of each fact."""
