"""Well-known transfer recipes, each a config; `smoke=true` shrinks them to seconds."""
