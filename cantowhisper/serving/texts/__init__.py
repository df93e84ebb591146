"""What the pages tell people, in each language that they speak."""
