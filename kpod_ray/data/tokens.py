"""Tokens of texts that users and models wrote. Such a text never becomes a control token.

Control tokens, such as ``<|im_end|>`` or ``</s>``, structure a prompt and end an answer. A text that
spells one out is tokenised letter by letter there, like any other text.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple


class TextTokens(NamedTuple):
    """The tokens of a text; both lists have the same length."""

    ids: list[int]
    spans: list[tuple[int, int]]
    """First character of each token, and the character before which the token ends."""


@functools.lru_cache(maxsize=8)
def control_tokens(tokenizer: Any) -> Mapping[str, int]:
    """Return text -> id of a tokenizer's special tokens, without the token of unknown characters."""
    added = tokenizer.added_tokens_decoder
    tokens = {token.content: index for index, token in added.items() if token.special}
    tokens |= zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True)
    if tokenizer.unk_token_id != tokenizer.eos_token_id:
        tokens.pop(tokenizer.unk_token, None)
    return tokens


def has_control_tokens(tokenizer: Any, text: str) -> bool:
    """Return whether a plain call of the tokenizer finds control tokens in a text."""
    ids = tokenizer(text, add_special_tokens=False).input_ids
    return not set(control_tokens(tokenizer).values()).isdisjoint(ids)


def encode_text(tokenizer: Any, text: str) -> TextTokens:
    """Tokenise a text with a fast tokenizer: no control tokens, no special tokens, no truncation.

    Raises:
        NotImplementedError: The tokenizer isn't fast.
    """
    encoded = tokenizer(
        text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True
    )
    tokens = TextTokens(encoded.input_ids, encoded.offset_mapping)
    controls = set(control_tokens(tokenizer).values())
    if controls.isdisjoint(tokens.ids):
        return tokens
    # Some vocabularies, such as T5's, have the text of a control token among their ordinary pieces.
    cuts = set[int]()
    for index, (start, end) in zip(*tokens, strict=True):
        if index in controls:
            cuts |= {start + 1} if end - start > 1 else {start, end}
    return _encode_parts(tokenizer, text, sorted(cuts - {0, len(text)}))


def _encode_parts(tokenizer: Any, text: str, cuts: list[int]) -> TextTokens:
    """Tokenise the parts of a text between cuts; a text without cuts has no tokens."""
    result = TextTokens([], [])
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True) if cuts else ():
        part = encode_text(tokenizer, text[start:end])
        result.ids.extend(part.ids)
        result.spans.extend((start + first, start + last) for first, last in part.spans)
    return result


def encode_filled(tokenizer: Any, frame: str, texts: Mapping[str, str]) -> list[int]:
    """Tokenise a frame, whose control tokens are meant, with texts in its places, whose aren't.

    Args:
        tokenizer: fast tokenizer.
        frame: text such as a rendered chat template; nothing is added to its special tokens.
        texts: place in the frame -> text to put there.
    """
    controls = control_tokens(tokenizer)
    ids: list[int] = []
    for piece in re.split(_any_of(controls), frame):
        if piece in controls:
            ids.append(controls[piece])
        elif piece:
            filled = re.sub(_any_of(texts), lambda found: texts[found.group()], piece)
            ids.extend(encode_text(tokenizer, filled).ids)
    return ids


def _any_of(names: Mapping[str, Any]) -> str:
    """Return a pattern, one group, of any of the names, the longest that matches."""
    return f"({'|'.join(map(re.escape, sorted(names, key=len, reverse=True)))})"
