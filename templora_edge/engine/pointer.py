"""Pointers into llama.cpp that cannot be used after they are freed."""

from typing import Any

from templora_edge.errors import EngineError


class Pointer:
    """An attribute that holds a C pointer until `take`; reading it later raises an error.

    Raises:
        EngineError: the object it pointed to has been freed.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}_or_none"

    def __get__(self, owner: Any, kind: type) -> Any:
        if owner is None:
            return self
        pointer = getattr(owner, self._name, None)
        if pointer is None:
            raise EngineError("this model was closed; open it again")
        return pointer

    def __set__(self, owner: Any, pointer: Any) -> None:
        setattr(owner, self._name, pointer)

    def take(self, owner: Any) -> Any:
        """Remove and return the pointer, to free it; None if it was taken before."""
        pointer = getattr(owner, self._name, None)
        setattr(owner, self._name, None)
        return pointer
