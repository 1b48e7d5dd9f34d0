"""The command line: `mot-trl generate | traces | plots`, also as `python -m mot_trl.cli`."""

import argparse
import sys
from collections.abc import Callable, Sequence

import torch

from mot_trl.generation.config import TRAINED, decoder_for
from mot_trl.generation.formatting import format_generation
from mot_trl.generation.generate import generate
from mot_trl.modeling.loading import load_checkpoint
from mot_trl.traces import __main__ as traces_page
from mot_trl.traces import learning_curves


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names; its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="mot-trl", description="Ask a model, or look at a run.")
    parser.add_argument("command", choices=sorted(COMMANDS), help="`mot-trl COMMAND --help` describes each")
    chosen = parser.parse_args(words[:1])
    return COMMANDS[chosen.command](words[1:])


def ask(arguments: list[str]) -> int:
    """Ask a model a question; print its thinking, mixtures included, and its answer."""
    parser = argparse.ArgumentParser(prog="mot-trl generate", description="Ask a model a question.")
    parser.add_argument("model", help="folder or hub name of a model or adapter")
    parser.add_argument("question")
    parser.add_argument("--strategy", help="such as dirichlet, top_k:k=5 or preset:soft_thinking; default: its own")
    parser.add_argument("--base", help="base of an adapter, if not where it says")
    parser.add_argument("--max_new_tokens", type=int, default=512)
    parser.add_argument("--temperature", type=float, help="default: the model's own")
    parser.add_argument("--seed", type=int, help="for the same completion again")
    parser.add_argument("--stream", action="store_true", help="print the visible text as it comes, first")
    asked = parser.parse_args(arguments)
    try:
        loaded = load_checkpoint(asked.model, base=asked.base, device="cuda" if torch.cuda.is_available() else "cpu")
        word = asked.strategy or ("top_k" if loaded.mixture is None else TRAINED)
        decoder = decoder_for(word, loaded.mixture, path=asked.model).build(loaded.tokenizer)
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
    print(("\n\n" if asked.stream else "") + format_generation(generation, loaded.tokenizer))
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "generate": ask,
    "plots": learning_curves.main,
    "traces": traces_page.main,
}


if __name__ == "__main__":
    sys.exit(main())
