"""The contracts of one guarantee alone, to see whether they find a bug."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from icontract import _checkers

__all__ = ["only"]


@contextmanager
def only(name: str) -> Iterator[None]:
    """Enforce the contracts of this guarantee and no others. Without a name, enforce all."""
    every, invariant = _checkers._assert_postconditions, _checkers._assert_invariant

    def postconditions_of_it(postconditions: list[Any], *rest: Any, **more: Any) -> Any:
        of_it = [contract for contract in postconditions if name in ("", contract.description)]
        return every(of_it, *rest, **more)

    def invariant_of_it(contract: Any, instance: Any) -> None:
        if name in ("", contract.description):
            invariant(contract, instance)

    vars(_checkers).update(
        _assert_postconditions=postconditions_of_it, _assert_invariant=invariant_of_it
    )
    try:
        yield
    finally:
        vars(_checkers).update(_assert_postconditions=every, _assert_invariant=invariant)
