"""Engines that generate rollouts faster than transformers' `generate`, with the same draws, phases and records."""
