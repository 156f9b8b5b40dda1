"""The report's figures, each a function from a grid to a matplotlib Figure."""
