"""Evaluate models or adapters on a task under several strategies: `mot-trl evaluate`.

    python recipes/evaluate.py --models Qwen/Qwen2.5-1.5B-Instruct --strategies one_token preset:soft_thinking
    accelerate launch recipes/evaluate.py --models outputs/dirichlet outputs/top_k --strategies trained top_k

The second prints the cross table of strategies in training and at inference. A killed run resumes when it is started
again. `docs/evaluation.md` explains the figures: accuracy, pass@k, majority vote, lengths.
"""

import sys

from mot_trl.cli import main
from mot_trl.commands.evaluate import DEFAULTS

__all__ = ["DEFAULTS"]

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
