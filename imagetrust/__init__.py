"""Says of an image whether people and cameras made it or a machine did. Knows nothing of any server."""
