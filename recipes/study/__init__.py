"""A study on nano: every mixture preset against plain GRPO and against plain GRPO on the same token support.

`python -m recipes.study.train` runs it; `python -m recipes.study FILE` writes the page from its results.
"""
