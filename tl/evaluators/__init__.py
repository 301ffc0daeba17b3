"""What is computed from a pass over an evaluation set."""
