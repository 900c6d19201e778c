"""A run: its folders, its inputs, its stages, and the order in which they go."""
