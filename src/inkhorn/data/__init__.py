"""Text, corpora and datasets."""
