"""From a source's name to batches on the mesh: sources -> splits -> transforms -> streams."""
