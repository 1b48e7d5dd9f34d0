"""The study's second part: models that were taught to think in mixtures, on tasks where width beats depth."""
