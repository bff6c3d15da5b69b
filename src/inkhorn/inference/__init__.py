"""Text generation without torch."""
