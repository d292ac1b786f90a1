"""Fingerprints of states: digests of everything that decides what can happen next.

Two states with one fingerprint have the same future, so the explorer explores only one of them. A
fingerprint is the digest of a breadth-first traversal of all objects that the roots refer to. The
roots are the ready queue, the timers, the tasks, the open outside calls, and the objects that the
scenario watches. The traversal numbers objects in the order of their first visit. So identity
counts, and addresses do not. A number that is the ``id`` of a visited object stands for it.

The traversal visits everything that later code can read. Such code is a callback in a queue, or a
callback calls it. It can read its arguments, its closure, its coroutine (variables by name,
evaluation stack, current exception), context variables, and the attributes of all these. ``_parts``
lists the parts of each kind of object. A state with an object of an unknown kind cannot be
compared.

The traversal leaves these out, because they are no state of the scenario:

* Modules, and the functions, classes and enumerations that a module has under their names. If a
  scenario keeps state in a global, it must pass the object that changes to `Events.watch`.
* Attributes that the scenario sets on the loop. A scenario cannot set any on its events.
* Tracebacks, the frames of calls that have ended, and the contexts of exceptions. A cause counts.
* Default names of tasks, and the records of the loop and the events.
* The time since the start of a run in which many timers have fired: see `Moments`.
* The order of a set whose elements have addresses as hashes, because it differs from run to run.
  All tasks have one hash. So their order in a set is part of the state, like the order of numbers.

Two digests of 128 bits may be equal by accident: among n states with a probability of about
n * n / 2**129. The floats 0.0 and -0.0 count as equal.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import deque
from collections.abc import Sequence
from types import CodeType
from typing import Any

from ._constants import has_stable_hash, is_constant, may_be_address, may_be_constant
from ._parts import MISSING, SetElements
from ._reducers import FingerprintError, Reducer, make_reducer
from ._virtual import EPOCH, START

__all__ = ["Fingerprints"]

HORIZON = 1e6  # a number of at most so many seconds after now may be a time
EXPLORER_CODE = -(2**40)  # codes of the explorer's own objects are below those of all atoms
MOST_MISSES = 100  # states that cannot be compared, until the explorer compares no more states
DEFERRED_CODE = 2**62  # stands for a number that the traversal looks up at its end
DEFERRED = object()  # stands for the elements of a set that the traversal visits last


class Moments:
    """A table of the codes of numbers in which each number that may be a time counts from now.

    Without it, a timer that restarts for ever would make ever new states. A number that only looks
    like a time does no harm: its code changes, so fewer states are equal.

    Args:
        table: The codes of numbers that are no times.
        now: The time of the clock.
        codes: The codes of durations from now. New ones are added.
    """

    def __init__(self, table: dict[Any, int], now: float, codes: dict[float, int]) -> None:
        self._table = table
        self._now = now
        self._codes = codes

    def get(self, value: float) -> int | None:
        """Return the code of a number, or None if it has none yet."""
        for epoch in (0.0, EPOCH):
            if START <= value - epoch <= self._now + HORIZON:
                after = round(value - epoch - self._now, 6)
                return self._codes.setdefault(after, 2 * EXPLORER_CODE - len(self._codes))
        return self._table.get(value)


class Fingerprints:
    """Fingerprints that can be compared with each other.

    Args:
        constants: Types whose objects never change.

    Attributes:
        layouts: Whether the layout of a set counts, that is, which places of its table were used.
            It becomes False when a set has an element whose hash is an address.
        kept: The constants so far. They are kept alive, because otherwise another object could get
            the identity of one.
        opaque: The first error of an object whose state cannot be seen, or an empty string.
    """

    def __init__(self, constants: tuple[type, ...] = ()) -> None:
        self.layouts = True
        self.kept: list[object] = []
        self.opaque = ""
        self._misses = 0  # states in a row that could not be compared
        self._constants = constants
        # Atoms have negative codes, other objects have their numbers, from 0.
        self._atoms: dict[type, dict[Any, int]] = {
            kind: {} for kind in (int, str, float, bytes, complex)
        }
        self._tables: dict[type, Any] = self._atoms  # those of the current digest
        self._moments: dict[float, int] = {}
        self._constant_codes: dict[int, int] = {}  # by identity
        self._code_codes: dict[CodeType, int] = {}  # each run may compile equal code again
        self._plain: set[type] = set()  # types whose objects are no constants
        self._reducers: dict[type, Reducer] = {}  # of types that are constants themselves
        self._count = 0
        for value in (None, True, False, ..., NotImplemented, MISSING, DEFERRED):
            self._add_constant(value)
        self._nan = self._add_constant(object())

    def compare(
        self, roots: Sequence[object], internals: Sequence[object], now: float | None = None
    ) -> bytes | None:
        """Return the digest, or None if the state of an object cannot be seen.

        After many such states in a row, no further state is looked at, because this costs time.

        Args:
            roots: The objects with which the traversal begins.
            internals: The explorer's objects. They have no parts for the traversal.
            now: The time from which times count. None means that they count from the start.
        """
        if self._misses >= MOST_MISSES:
            return None
        try:
            digest = self.take(roots, internals, now)
        except FingerprintError as error:
            self.opaque = self.opaque or str(error)
            self._misses += 1
            return None
        self._misses = 0
        return digest

    def take(
        self, roots: Sequence[object], internals: Sequence[object], now: float | None = None
    ) -> bytes:
        """Return the digest of everything that the roots refer to. `compare` has the arguments."""
        self._tables = self._atoms
        if now is not None:
            self._tables = dict(self._atoms)
            for kind in (int, float):
                self._tables[kind] = Moments(self._atoms[kind], now, self._moments)
            roots = ["relative", *roots]
        codes = {id(one): EXPLORER_CODE - place for place, one in enumerate(internals)}
        return self._digest(roots, codes)

    def _add_atom(self, value: Any) -> int:
        """Return the code of a new atom."""
        if value != value:  # no dict would find it again
            return self._nan
        self._count -= 1
        code = self._atoms[type(value)][value] = self._count
        return code

    def _add_constant(self, constant: object) -> int:
        self._count -= 1
        code = self._constant_codes[id(constant)] = self._count
        self.kept.append(constant)
        return code

    def _constant_code(self, value: Any, kind: type) -> int | None:
        """Return the code of a constant, or None if the value is no constant."""
        if kind is CodeType:
            code = self._code_codes.get(value)
            if code is None:
                code = self._code_codes[value] = self._add_constant(value)
            return code
        if not (may_be_constant(kind) or issubclass(kind, self._constants)):
            if is_constant(kind):
                self._plain.add(kind)
            return None
        if is_constant(value) or isinstance(value, self._constants):
            return self._add_constant(value)
        return None

    def _find_reducer(
        self, kind: type, neighbour: object, temporary: dict[type, Reducer]
    ) -> Reducer:
        """Return the reducer of a type. Do not keep a type that each run creates again."""
        known = self._reducers if is_constant(kind) else temporary
        found = known.get(kind)
        if found is None:
            try:
                found = known[kind] = make_reducer(kind)
            except FingerprintError as error:
                raise FingerprintError(f"{error}, near {object.__repr__(neighbour)}") from None
        return found

    def _digest(
        self, roots: Sequence[object], codes: dict[int, int], *, is_nested: bool = False
    ) -> bytes:
        atoms, plain, reducers = self._tables, self._plain, self._reducers
        numbers = self._constant_codes | codes
        temporary: dict[type, Reducer] = {}
        objects: list[Any] = []  # in the order of their first visit
        expanded = 0  # how many of them the traversal has taken apart
        deferred: deque[SetElements] = deque()
        addresses: list[tuple[int, int]] = []  # numbers that may be identities, and their places
        out: list[int] = [len(roots)]
        append = out.append
        children = roots
        number: int | None
        kind: type
        parent: object = self
        while True:
            for child in children:
                kind = type(child)
                table = atoms.get(kind)
                if table is not None:
                    code = table.get(child)
                    if code is None and isinstance(child, int) and may_be_address(child):
                        addresses.append((len(out), child))
                        code = DEFERRED_CODE
                    append(self._add_atom(child) if code is None else code)
                    continue
                number = numbers.get(id(child))
                if number is None:
                    if kind not in plain:
                        number = self._constant_code(child, kind)
                    if number is None:
                        number = len(objects)
                        objects.append(child)
                    numbers[id(child)] = number
                append(number)
            if expanded == len(objects):
                if not deferred:
                    for place, value in addresses:
                        out += [place, numbers.get(value, hash(value))]
                    return hashlib.blake2b(array("q", out), digest_size=16).digest()
                children = self._sort(deferred.popleft(), numbers, is_nested)
                append(len(children))
                continue
            neighbour, parent = parent, objects[expanded]
            expanded += 1
            kind = type(parent)
            reduce = reducers.get(kind)
            if reduce is None:
                reduce = self._find_reducer(kind, neighbour, temporary)
            parts = reduce(parent)
            if type(parts) is SetElements:
                if all(map(has_stable_hash, parts)):
                    parts = [parts.layout if self.layouts else None, *parts]
                else:
                    self.layouts = False
                    deferred.append(parts)
                    parts = [DEFERRED]
            append(len(parts))
            parts.append(kind)
            children = parts

    def _sort(self, parts: list[Any], numbers: dict[int, int], is_nested: bool) -> list[Any]:
        """Sort the elements of a set. Any order is sound; this one is the same in every run."""
        stable = [part for part in parts if has_stable_hash(part)]
        others = [part for part in parts if not has_stable_hash(part)]
        is_new = sum(_identity(part) not in numbers for part in others) > 1

        def rank(part: object) -> tuple[int, bytes]:
            number = numbers.get(_identity(part), EXPLORER_CODE)
            # The traversal has not visited it yet, so its parts decide. A set among them keeps the
            # order that it has.
            needs_digest = number == EXPLORER_CODE and is_new and not is_nested
            return number, self._digest([part], numbers, is_nested=True) if needs_digest else b""

        return [len(stable), *stable, *sorted(others, key=rank)]


def _identity(part: object) -> int:
    """Return the identity of an element. A number without a stable hash is one itself."""
    return part if isinstance(part, int) else id(part)
