"""Objects and hashes that are equal in every run: constants, and hashes that are no addresses."""

from __future__ import annotations

import dataclasses
import logging
import sys
import types
import weakref
from enum import Enum
from functools import lru_cache
from typing import Any

from ._registry import registry

__all__ = ["has_stable_hash", "is_c_type", "is_constant", "may_be_address", "may_be_constant"]

HEAP_TYPE, IMMUTABLE_TYPE = 1 << 9, 1 << 8  # flags of types: Python code makes only the first kind

# Constants: objects that count as unchanging, so that their identity describes them.

DESCRIPTORS = (
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
CACHED = type(lru_cache(len))  # a module's function with a cache: what is cached is no state
DEFINITIONS = (type, types.FunctionType, CACHED)
CONSTANTS = (types.CodeType, logging.Logger)
CANDIDATES = (
    *DEFINITIONS,
    *DESCRIPTORS,
    *CONSTANTS,
    types.BuiltinFunctionType,
    types.ModuleType,
    Enum,
)


def is_c_type(kind: type) -> bool:
    """Return whether a type is written in C, because then its name identifies it."""
    return not kind.__flags__ & HEAP_TYPE or bool(kind.__flags__ & IMMUTABLE_TYPE)


def is_constant(value: Any) -> bool:
    """Return whether an object and everything that belongs to it is the same in every run."""
    kind = type(value)
    if issubclass(kind, type):
        is_known = is_c_type(value) or issubclass(value, registry.constant_bases)
        return is_known or _is_definition(value)
    if kind in DEFINITIONS:
        return _is_definition(value)
    if kind is types.BuiltinFunctionType:
        return value.__self__ is None or isinstance(value.__self__, types.ModuleType)
    if kind is types.ModuleType:
        return value.__spec__ is not None or sys.modules.get(value.__name__) is value
    if kind in DESCRIPTORS:
        return is_constant(value.__objclass__)
    if issubclass(kind, Enum):
        return is_constant(kind)
    return isinstance(value, (*CONSTANTS, *registry.constants))


def _is_definition(value: Any) -> bool:
    """Return whether a class or function is found in its module under its own name.

    A function also counts if a decorator wrapped it and the module has the wrapper.
    """
    if "<locals>" in value.__qualname__:
        return False
    try:
        found: Any = sys.modules[value.__module__]
        for name in value.__qualname__.split("."):
            found = vars(found)[name]
        seen: list[object] = []
        while found is not value and found not in seen:
            seen.append(found)
            is_wrapper = isinstance(found, (staticmethod, classmethod))
            found = found.__func__ if is_wrapper else vars(found)["__wrapped__"]
    except (KeyError, TypeError):  # the name is missing, or its owner has no attributes
        return False
    return found is value


def may_be_constant(kind: type) -> bool:
    """Return whether an object of this type may be a constant."""
    return issubclass(kind, CANDIDATES) or issubclass(kind, registry.constants)


# Hashes.

SINGLETONS = (types.NoneType, types.EllipsisType, types.NotImplementedType)


def may_be_address(value: int) -> bool:
    """Return whether a number may be the ``id`` of an object."""
    return 2**32 < value < 2**60


def has_stable_hash(value: Any) -> bool:
    """Return whether the hash of an object is the same in every run.

    A set of such objects has the same order in every run. A hash that a class defines in Python
    counts as stable.
    """
    kind = type(value)
    if kind is int:
        return not may_be_address(value)
    hashes: Any = kind.__hash__
    if hashes is object.__hash__:
        return kind in SINGLETONS or is_constant(value)
    if hashes is tuple.__hash__ or hashes is frozenset.__hash__:
        return all(map(has_stable_hash, value))
    if isinstance(value, weakref.ref):
        return has_stable_hash(value())
    if isinstance(value, (types.MethodType, types.BuiltinMethodType, types.MethodWrapperType)):
        return is_constant(value.__self__)  # its address is part of the hash
    if isinstance(hashes, types.FunctionType) and hashes.__code__.co_filename == "<string>":
        owner: Any = next(one for one in kind.__mro__ if "__hash__" in vars(one))
        fields = dataclasses.fields(owner) if dataclasses.is_dataclass(owner) else ()
        used = (one.name for one in fields if (one.compare if one.hash is None else one.hash))
        return all(has_stable_hash(getattr(value, name)) for name in used)
    return True
