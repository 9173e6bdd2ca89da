"""The tokens of a prompt, and of notes that stand before it at the head of every window."""

from collections.abc import Sequence
from itertools import takewhile

from templora_edge.engine.model import Model
from templora_edge.errors import PromptError


def tokens_of(
    model: Model, prompt: str, notes: str = "", *, chat: bool = False, special: bool = False
) -> tuple[list[int], list[int]]:
    """The tokens of ``notes``, and those of ``prompt``, both without BOS.

    Args:
        model: the model.
        prompt: text to continue, or to answer.
        notes: names and facts; a blank line follows them.
        chat: wrap the prompt in the model's chat template; the notes are its system message, with
            all that the template writes before the prompt or, if it ends turns, up to the end of
            that turn.
        special: parse control tokens in the prompt; those in the notes are text.

    Raises:
        PromptError: the chat template shows no system message.
        EngineError: the GGUF has no chat template, or the template fails.
    """
    vocab = model.vocab
    if not chat:
        tokens = vocab.tokenize_prompt(prompt) if special else vocab.tokenize(prompt)
        return vocab.tokenize(f"{notes}\n\n") if notes else [], tokens
    content = prompt if special else vocab.quote(prompt)
    if not notes:
        return [], vocab.tokenize_prompt(model.chat_prompt([_turn("user", content)]))
    system = _turn("system", vocab.quote(notes))
    rendered = model.chat_prompt([system, _turn("user", content)])
    if system["content"].strip() not in rendered:
        raise PromptError(
            "--notes: the model's chat template shows no system message, where notes would stand; "
            "drop --chat, or write them into the prompt"
        )
    whole = vocab.tokenize_prompt(rendered)
    n_same = _n_same(whole, vocab.tokenize_prompt(model.chat_prompt([system, _turn("user", "")])))
    n_notes = next((n for n in range(1, n_same + 1) if vocab.is_end(whole[n - 1])), n_same)
    return whole[:n_notes], whole[n_notes:]


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _n_same(first: Sequence[int], second: Sequence[int]) -> int:
    """Number of tokens with which both begin."""
    pairs = zip(first, second, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
