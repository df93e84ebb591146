"""Recordings → feature dataset: sources, workers, Parquet shards."""
