"""What runs an exported network; copies of both files lie in every exported folder, and need jax and numpy alone."""
