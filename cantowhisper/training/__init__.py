"""Feature dataset → model: the miniature and the real Whispers, batching, trainer, scores, export."""
