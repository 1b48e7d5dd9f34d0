"""Ask a model a question: `python -m mot_trl.generate MODEL "question"` prints its thinking and its answer.

As a name, `mot_trl.generate` is the function of that name; this file only gives it a command line.
"""

import argparse
import sys

import torch

from mot_trl.evaluation import TRAINED, decoder_of
from mot_trl.evaluation_models import load
from mot_trl.generation import generate
from mot_trl.show import show


def main() -> None:
    """Read the command line, generate, print."""
    parser = argparse.ArgumentParser(prog="python -m mot_trl.generate", description="Ask a model a question.")
    parser.add_argument("model", help="folder or hub name of a model or adapter")
    parser.add_argument("question")
    parser.add_argument("--strategy", help="such as dirichlet, top_k:k=5 or preset:soft_thinking; default: its own")
    parser.add_argument("--base", help="base of an adapter, if not where it says")
    parser.add_argument("--max_new_tokens", type=int, default=512)
    parser.add_argument("--temperature", type=float, help="default: the model's own")
    parser.add_argument("--seed", type=int, help="for the same completion again")
    parser.add_argument("--stream", action="store_true", help="print the visible text as it comes, first")
    asked = parser.parse_args()
    try:
        loaded = load(asked.model, base=asked.base, device="cuda" if torch.cuda.is_available() else "cpu")
        word = asked.strategy or ("top_k" if loaded.mixture is None else TRAINED)
        decoder = decoder_of(loaded, word, path=asked.model).build(loaded.tokenizer)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    if asked.seed is not None:
        torch.manual_seed(asked.seed)
    chat = [{"role": "user", "content": asked.question}]
    options = {} if asked.temperature is None else {"temperature": asked.temperature}
    generation = generate(
        loaded.model,
        loaded.tokenizer,
        [asked.question if loaded.tokenizer.chat_template is None else chat],
        strategy=decoder.strategy,
        phases=decoder.phases,
        on_text=(lambda _, text: print(text, end="", flush=True)) if asked.stream else None,
        max_new_tokens=asked.max_new_tokens,
        **options,
    )
    print(("\n\n" if asked.stream else "") + show(generation, loaded.tokenizer))


if __name__ == "__main__":
    main()
else:
    # Importing a submodule puts it into the package under its name, where the function must stay.
    sys.modules[__name__] = generate  # ty: ignore[invalid-assignment]
