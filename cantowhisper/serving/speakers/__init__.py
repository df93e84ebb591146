"""Who speaks in each piece of a recording: a vector for each voice, and pieces with like ones under one number."""
