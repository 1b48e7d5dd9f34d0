"""`mot-trl generate MODEL [QUESTION ...]`: a model's thinking, mixtures included, and its answers."""

import sys
from functools import partial
from typing import Any

from mot_trl.commands.flags import CommandParser, at_least, model_name, strategy_word


def main(arguments: list[str]) -> int:
    """Read the command line and the questions, and print a completion of each."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.stream and (options.answer or len(options.questions) > 1):
        parser.error("--stream shows one question's thinking; leave out --answer and other questions")
    questions = options.questions or [line.strip() for line in sys.stdin if line.strip()]
    if not questions:
        parser.error("there is no question, neither on the command line nor on stdin")

    # Importing torch and transformers takes seconds, which `--help` and a mistyped flag need not wait for.
    import torch
    from transformers.utils import logging

    from mot_trl.generation.config import TRAINED, DecoderConfig, decoder_for
    from mot_trl.generation.formatting import answer_text, format_generation
    from mot_trl.generation.generate import generate
    from mot_trl.modeling.loading import load_checkpoint

    logging.disable_progress_bar()
    loaded = load_checkpoint(options.model, base=options.base, device="cuda" if torch.cuda.is_available() else "cpu")
    word = options.strategy or (DecoderConfig.strategy if loaded.mixture is None else TRAINED)
    decoder = decoder_for(word, loaded.mixture, path=options.model)
    if options.max_mixture_tokens is not None:
        decoder = decoder.override({"max_mixture_tokens": options.max_mixture_tokens or None})
    built = decoder.build(loaded.tokenizer)
    if options.seed is not None:
        torch.manual_seed(options.seed)
    sampling: dict[str, Any] = {} if options.temperature is None else {"temperature": options.temperature}
    if options.temperature == 0:
        sampling = {"do_sample": False}
    generation = generate(
        loaded.model,
        loaded.tokenizer,
        [as_prompt(question, options.system, loaded.tokenizer) for question in questions],
        strategy=built.strategy,
        phases=built.phases,
        batch_size=options.batch_size,
        on_text=(lambda _, text: print(text, end="", flush=True)) if options.stream else None,
        max_new_tokens=options.max_new_tokens,
        **sampling,
    )
    for row, question in enumerate(questions):
        if options.answer:
            # On one line each, so that a script can tell them apart.
            print(" ".join(answer_text(generation, loaded.tokenizer, row=row).split()))
            continue
        title = f"{question}\n\n" if len(questions) > 1 else "\n\n" if options.stream else ""
        print(title + format_generation(generation, loaded.tokenizer, row=row), end="\n\n" if title.strip() else "\n")
    unclosed = int((generation.rollout.closed_by < 0).sum())
    if options.answer and unclosed:
        print(
            f"{unclosed} of {len(questions)} completions did not close their thinking: set a budget, such as "
            f"--max_mixture_tokens {options.max_new_tokens * 3 // 4}, or allow more --max_new_tokens.",
            file=sys.stderr,
        )
    return 0


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="mot-trl generate",
        usage="mot-trl generate MODEL [QUESTION ...] [flags]",
        description="Ask a model questions: those given, or else each line of stdin.",
    )
    parser.add_argument("model", metavar="MODEL", type=model_name, help="folder or hub name of a model or adapter")
    parser.add_argument("questions", metavar="QUESTION", nargs="*")
    parser.add_argument("--answer", action="store_true", help="print only the answer, on one line per question")
    parser.add_argument("--system", metavar="TEXT", help="system prompt")
    add = partial(parser.add_argument, metavar="NAME")
    add("--strategy", type=strategy_word, help="dirichlet, top_k:k=5, preset:soft_thinking; default: the model's own")
    add = partial(parser.add_argument, metavar="N")
    add("--max_mixture_tokens", type=at_least(0), help="thinking budget in tokens; 0 for none")
    add("--max_new_tokens", type=at_least(1), default=512, help="longest completion in tokens (default 512)")
    add("--temperature", type=at_least(0, float), help="default: the model's own; 0 for the likeliest tokens")
    add("--seed", type=at_least(0), help="makes the completions reproducible")
    add("--batch_size", type=at_least(1), default=16, help="questions at a time (default 16)")
    parser.add_argument("--stream", action="store_true", help="print the visible text first, as it is generated")
    parser.add_argument(
        "--base", metavar="MODEL", type=model_name, help="base model of an adapter, if not where the adapter says"
    )
    return parser


def as_prompt(question: str, system: str | None, tokenizer: Any) -> Any:
    """The question as a chat, after a system prompt if there is one, or as text for a model without a template."""
    if tokenizer.chat_template is None:
        return question if system is None else f"{system}\n\n{question}"
    instructions = [] if system is None else [{"role": "system", "content": system}]
    return [*instructions, {"role": "user", "content": question}]
