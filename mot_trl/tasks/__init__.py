"""What each data set brings: prompts to train on, and rewards that grade the answers."""
