"""What is done to a transformers model: mixtures as input embeddings, candidate log-probs, caches, attention."""
