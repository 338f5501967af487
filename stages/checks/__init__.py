"""Whether files made elsewhere are of their kind. Kept apart from the kinds, so that no stage drifts when a check is mended."""
