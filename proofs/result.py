"""The result of a proof, as one line of a table."""

from dataclasses import dataclass

__all__ = ["Result"]


@dataclass(frozen=True)
class Result:
    """The result of one checker for one or more guarantees."""

    checker: str  # its name
    guarantee: str  # names of the specification, separated by commas
    figure: str  # how much was checked, and the bound if there is one
    ok: bool
    seconds: float

    def __str__(self) -> str:
        verdict = "ok" if self.ok else "FAILED"
        what = f"{self.figure}: {self.guarantee}"
        return f"{self.checker:<14} {verdict:<6} {self.seconds:6.1f} s  {what}"
