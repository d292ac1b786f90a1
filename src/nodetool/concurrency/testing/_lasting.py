"""What is the same in every run: constants, and hashes that are no addresses."""

from __future__ import annotations

import dataclasses
import logging
import sys
import types
import weakref
from enum import Enum
from typing import Any

from ._registry import registry

__all__ = ["has_lasting_hash", "is_c_type", "is_constant", "may_be_constant"]

HEAP_TYPE, IMMUTABLE_TYPE = 1 << 9, 1 << 8  # flags of types: Python makes only the first kind

# Constants: objects that are what they are, by identity.

DESCRIPTORS = (
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
DEFINED = (type, types.FunctionType)
CONSTANTS = (types.CodeType, logging.Logger)
PERHAPS = (*DEFINED, *DESCRIPTORS, *CONSTANTS, types.BuiltinFunctionType, types.ModuleType, Enum)


def is_c_type(kind: type) -> bool:
    """Whether a type is written in C, so that its name says which it is."""
    return not kind.__flags__ & HEAP_TYPE or bool(kind.__flags__ & IMMUTABLE_TYPE)


def is_constant(value: Any) -> bool:
    """Whether it is, and all that belongs to it, the same in every run."""
    kind = type(value)
    if issubclass(kind, type):
        return is_c_type(value) or issubclass(value, registry.constant_bases) or _is_defined(value)
    if kind is types.FunctionType:
        return _is_defined(value)
    if kind is types.BuiltinFunctionType:
        return value.__self__ is None or isinstance(value.__self__, types.ModuleType)
    if kind is types.ModuleType:
        return value.__spec__ is not None or sys.modules.get(value.__name__) is value
    if kind in DESCRIPTORS:
        return is_constant(value.__objclass__)
    if issubclass(kind, Enum):
        return is_constant(kind)
    return isinstance(value, (*CONSTANTS, *registry.constants))


def _is_defined(value: Any) -> bool:
    """Whether its module has it under its name, or a decorated one that was made of it."""
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
    except (KeyError, TypeError):  # there is no such name, or it is of something without any
        return False
    return found is value


def may_be_constant(kind: type) -> bool:
    """Whether an object of this type may be a constant."""
    return issubclass(kind, PERHAPS) or issubclass(kind, registry.constants)


# Hashes.

SINGLE = (types.NoneType, types.EllipsisType, types.NotImplementedType)


def has_lasting_hash(value: Any) -> bool:
    """Whether its hash is the same in every run, so that sets of such have an order that is, too.

    A hash that a class defines in Python counts as such.
    """
    kind = type(value)
    hashes: Any = kind.__hash__
    if hashes is object.__hash__:
        return kind in SINGLE or is_constant(value)
    if hashes is tuple.__hash__ or hashes is frozenset.__hash__:
        return all(map(has_lasting_hash, value))
    if isinstance(value, weakref.ref):
        return has_lasting_hash(value())
    if isinstance(value, (types.MethodType, types.BuiltinMethodType, types.MethodWrapperType)):
        return is_constant(value.__self__)  # its address goes into the hash
    if isinstance(hashes, types.FunctionType) and hashes.__code__.co_filename == "<string>":
        owner: Any = next(one for one in kind.__mro__ if "__hash__" in vars(one))
        fields = dataclasses.fields(owner) if dataclasses.is_dataclass(owner) else ()
        used = (one.name for one in fields if (one.compare if one.hash is None else one.hash))
        return all(has_lasting_hash(getattr(value, name)) for name in used)
    return True
