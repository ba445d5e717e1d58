"""Everything the cloud may refuse, as one small tree; a docstring is the message's title, one handler answers HTTP."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a request: where and what."""

    message: str
    field: str | None = None
    line: int | None = None


class AisleError(Exception):
    """The request cannot be carried out."""

    status = 400

    def __init__(self, detail: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.problems = problems

    @property
    def title(self) -> str:
        return (self.__doc__ or "").split("\n")[0].rstrip(".")


class NotSignedIn(AisleError):
    """Sign in first."""

    status = 401


class NotAllowed(AisleError):
    """This role may not do that."""

    status = 403


class NoHeader(NotAllowed):
    """The header X-Aisle is missing."""


class NotFound(AisleError):
    """There is no such thing here."""

    status = 404


class Conflict(AisleError):
    """That contradicts what is already there."""

    status = 409


class Invalid(AisleError):
    """The content does not hold together."""

    status = 422


class TooMany(AisleError):
    """Too many tries."""

    status = 429
