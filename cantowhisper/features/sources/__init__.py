"""Where recordings come from: one file a kind of source."""
