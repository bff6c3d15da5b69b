"""What a model is examined in: each task says what it scores, by which method, and what comes of it."""
