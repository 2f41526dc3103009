"""Text as what a diffusion model attends to: CLIP, or a small encoder that is trained with the model."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from ..errors import InputError, describe

WORD = re.compile(r"[a-z]+(?:-[a-z]+)*|\d+|[.,]")
PAD, START, END, UNKNOWN = range(4)
FIRST_WORD = 4
logger = logging.getLogger(__name__)


class WordTextEncoder(nn.Module):
    """A small transformer over words, with a vocabulary learned from the training texts.

    The vocabulary lies in the state_dict, as bytes, so that weights and tokens cannot be mixed up.

    Args:
        words: of the vocabulary at most.
        length: tokens of a text, with start and end.
        width: of the features.
        layers, heads: of the transformer.
    """

    def __init__(
        self, words: int = 512, length: int = 77, width: int = 64, layers: int = 2, heads: int = 4, letters: int = 8192
    ):
        super().__init__()
        self.words, self.length = words, length
        self.embedding = nn.Embedding(FIRST_WORD + words, width)
        self.position = nn.Parameter(torch.randn(length, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.transformer = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.register_buffer("letters", torch.zeros(16 * words, dtype=torch.uint8))
        self.read = ("", {})  # what stood in `letters`, and the number of every word

    def learn(self, texts: Iterable[str]) -> None:
        """Take the most frequent words of the texts as the vocabulary.

        Raises:
            ValueError: there is no word in them.
        """
        counts = Counter(word for text in texts for word in WORD.findall(text.lower()))
        kept = [word for word, _ in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[: self.words]]
        while len("\n".join(kept).encode()) > len(self.letters):
            kept.pop()
        if not kept:
            raise ValueError("no word in the training texts")
        content = "\n".join(kept).encode()
        self.letters.zero_()
        self.letters[: len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8)

    @property
    def vocabulary(self) -> dict[str, int]:
        """Numbers of the words."""
        content = bytes(self.letters.tolist()).rstrip(b"\0").decode()
        if content != self.read[0]:
            self.read = (content, {word: FIRST_WORD + i for i, word in enumerate(content.split("\n"))})
        return self.read[1]

    def tokenize(self, text: str, warn: bool = False) -> torch.Tensor:
        """A text as numbers of words, (length,) int64; case does not matter, and unknown words share one number.

        Args:
            text: "" is the empty prompt.
            warn: log the unknown words.

        Raises:
            ValueError: it is longer than `length`, with start and end.
        """
        words = WORD.findall(text.lower())
        check_length(len(words) + 2, self.length, text)
        known = self.vocabulary
        unknown = [word for word in words if word not in known]
        if warn and unknown:
            logger.warning(f"'{text}': the model was not trained with {', '.join(dict.fromkeys(unknown))}")
        numbers = [START, *(known.get(word, UNKNOWN) for word in words), END]
        return torch.tensor(numbers + [PAD] * (self.length - len(numbers)))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, length) to (B, length, width); places behind the text are 0."""
        empty = tokens == PAD
        features = self.transformer(self.embedding(tokens) + self.position, src_key_padding_mask=empty)
        return features.masked_fill(empty[..., None], 0)


class ClipTextEncoder(nn.Module):
    """CLIPTextModel and CLIPTokenizer of the transformers package, frozen; they are no part of the state_dict.

    Args:
        name: an id on the Hugging Face hub, or a local folder; in it may be the folders text_encoder and tokenizer, as those
            of Stable Diffusion have.
        length: tokens of a text, with start and end.

    Raises:
        InputError: transformers is not installed, or there is no such model, with the remedy.
    """

    def __init__(self, name: str, length: int = 77):
        super().__init__()
        try:
            from transformers import CLIPTextModel, CLIPTokenizer
        except ImportError:
            raise InputError("the text encoder is CLIP, which needs transformers: pip install -e .[clip]") from None
        parts = {"text_encoder": CLIPTextModel, "tokenizer": CLIPTokenizer}
        folder = Path(os.path.expanduser(name))
        inside = not folder.is_dir() or (folder / "text_encoder").is_dir()
        try:
            model, self.tokenizer = (k.from_pretrained(name, subfolder=p if inside else "") for p, k in parts.items())
        except Exception as error:  # of the hub, of the network, of files
            raise InputError(
                f"no CLIP text encoder '{name}' ({describe(error)[:300]}); expected a hub id that can be reached, or a folder "
                "with text_encoder/ and tokenizer/ downloaded from there"
            ) from None
        self.length = length
        self.frozen = (model.eval().requires_grad_(False),)  # in a tuple, so that it is no part of the state_dict

    def learn(self, texts: Iterable[str]) -> None:
        """Nothing: CLIP's vocabulary is given."""

    def tokenize(self, text: str, warn: bool = False) -> torch.Tensor:
        """A text as CLIP's tokens, (length,) int64.

        Raises:
            ValueError: it is longer than `length`.
        """
        check_length(len(self.tokenizer(text)["input_ids"]), self.length, text)
        found = self.tokenizer(text, padding="max_length", max_length=self.length, return_tensors="pt")
        return found["input_ids"][0]

    @torch.no_grad()
    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, length) to the last hidden state (B, length, width)."""
        return self.frozen[0].to(tokens.device)(tokens).last_hidden_state


def check_length(found: int, most: int, text: str) -> None:
    """Refuse a text with too many tokens.

    Raises:
        ValueError: it has more than `most`.
    """
    if found > most:
        raise ValueError(f"prompt of {found} tokens, expected {most} at most: '{text[:60]}...'")
