"""What runs a model: one file a runtime, behind one protocol."""
