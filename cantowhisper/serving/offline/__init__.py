"""The page for files, and its two programming interfaces."""
