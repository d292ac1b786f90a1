"""What a checker found, as one line of a table."""

from dataclasses import dataclass

__all__ = ["Result"]


@dataclass(frozen=True)
class Result:
    """One guarantee, as one checker sees it."""

    checker: str  # who checked
    guarantee: str  # what, by the names of the specification
    figure: str  # how much was checked, and the bound if there is one
    ok: bool
    seconds: float

    def __str__(self) -> str:
        verdict = "ok" if self.ok else "FAILED"
        return (
            f"{self.checker:<16}  {self.guarantee:<22}  {verdict:<6}  "
            f"{self.seconds:5.1f} s  {self.figure}"
        )
