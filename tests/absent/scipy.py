"""What commands that tests start find of scipy, which tests alone need: numba loads it wherever it is."""

raise ModuleNotFoundError("No module named 'scipy'", name="scipy")
