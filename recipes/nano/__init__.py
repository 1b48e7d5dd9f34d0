"""How the embedded model is made: `python -m recipes.nano.pretrain`."""
