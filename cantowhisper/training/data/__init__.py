"""From feature rows to batches."""
