"""Models: texts in, Embeddings out."""
