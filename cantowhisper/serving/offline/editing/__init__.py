"""Transcripts that people correct in their browser: checked, formatted, cut into training clips. Nothing is kept."""
