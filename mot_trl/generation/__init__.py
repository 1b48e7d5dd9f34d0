"""Generate with mixtures: the decoder for transformers' `generate`, and a function for texts and chats."""

from mot_trl.generation.decoder import MixtureDecoder
from mot_trl.generation.generate import Generation, generate

__all__ = ["Generation", "MixtureDecoder", "generate"]
