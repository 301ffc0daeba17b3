"""An exported folder behind HTTP: scripts/serve.py."""
