"""Reinforcement learning of language models that think in mixtures of tokens."""
