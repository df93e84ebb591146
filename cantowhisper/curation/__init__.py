"""Deciding what a model learns from: texts that its recordings do not say, recordings that nobody has transcribed."""
