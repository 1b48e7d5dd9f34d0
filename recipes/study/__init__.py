"""The study: every way of thinking in mixtures against plain GRPO and against plain GRPO on the same support.

`recipes/study/train.py` runs it, `python -m recipes.study FILE` writes the page from what it found.
"""
