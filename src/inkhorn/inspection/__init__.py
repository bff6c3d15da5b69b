"""What the parts of a model do: importance, attribution."""
