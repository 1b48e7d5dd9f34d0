"""Evaluate models or adapters on a task under several strategies: accuracy, pass@k, majority vote, lengths.

    python recipes/evaluate.py --models Qwen/Qwen2.5-1.5B-Instruct --strategies one_token preset:soft_thinking
    accelerate launch recipes/evaluate.py --models outputs/dirichlet outputs/top_k --strategies trained top_k

The second prints the cross table of strategies in training and at inference. A killed run resumes when it is started
again. `docs/evaluation.md` explains the figures.
"""

from mot_trl import evaluation

DEFAULTS = {
    "task": "gsm8k",
    "split": "test",
    "strategies": ["one_token"],
    "max_new_tokens": 1024,
    "output_dir": "outputs/evaluation",
}


def main(config: evaluation.EvaluationConfig) -> None:
    """Sample, grade, and print the tables."""
    evaluation.run(config)


if __name__ == "__main__":
    main(evaluation.parse(DEFAULTS))
