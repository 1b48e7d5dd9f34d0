"""Pretraining of nano, the embedded model: `python -m recipes.nano.pretrain`."""
