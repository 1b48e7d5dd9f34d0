"""`mot-trl generate MODEL QUESTION`: a model's thinking, mixtures included, and its answer."""

import argparse


def main(arguments: list[str]) -> int:
    """Ask a model a question; print its thinking, mixtures included, and its answer."""
    parser = argparse.ArgumentParser(prog="mot-trl generate", description="Ask a model a question.")
    parser.add_argument("model", help="folder or hub name of a model or adapter")
    parser.add_argument("question")
    parser.add_argument("--strategy", help="such as dirichlet, top_k:k=5 or preset:soft_thinking; default: its own")
    parser.add_argument("--base", help="base model of an adapter, if not where the adapter says")
    parser.add_argument("--max_new_tokens", type=int, default=512, help="longest completion (default 512)")
    parser.add_argument("--temperature", type=float, help="default: the model's own")
    parser.add_argument("--seed", type=int, help="makes the completion reproducible")
    parser.add_argument("--stream", action="store_true", help="print the visible text first, as it is generated")
    options = parser.parse_args(arguments)

    # Importing torch and transformers takes seconds, which `--help` and a mistyped flag need not wait for.
    import torch

    from mot_trl.generation.config import TRAINED, decoder_for
    from mot_trl.generation.formatting import format_generation
    from mot_trl.generation.generate import generate
    from mot_trl.modeling.loading import load_checkpoint

    try:
        loaded = load_checkpoint(
            options.model, base=options.base, device="cuda" if torch.cuda.is_available() else "cpu"
        )
        word = options.strategy or ("top_k" if loaded.mixture is None else TRAINED)
        decoder = decoder_for(word, loaded.mixture, path=options.model).build(loaded.tokenizer)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    if options.seed is not None:
        torch.manual_seed(options.seed)
    chat = [{"role": "user", "content": options.question}]
    generation = generate(
        loaded.model,
        loaded.tokenizer,
        # A base model has no chat template and completes the question as text.
        [options.question if loaded.tokenizer.chat_template is None else chat],
        strategy=decoder.strategy,
        phases=decoder.phases,
        on_text=(lambda _, text: print(text, end="", flush=True)) if options.stream else None,
        max_new_tokens=options.max_new_tokens,
        **({} if options.temperature is None else {"temperature": options.temperature}),
    )
    print(("\n\n" if options.stream else "") + format_generation(generation, loaded.tokenizer))
    return 0
