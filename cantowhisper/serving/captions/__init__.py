"""From what was said to what is shown: captions with lines, cues and times that players and readers get on with."""
