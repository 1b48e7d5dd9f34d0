"""Datasets: prompts to train on, and the rewards that grade the answers."""
