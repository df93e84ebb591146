"""Model → text: recogniser, segments, and what the two pages need. Imports neither torch nor transformers."""
