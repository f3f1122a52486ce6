"""What is said of an error."""

from infra.process.settings import shown

OURS = ("streams", "projections", "infra", "api")
"""Packages whose errors are sentences."""


def one_line(error: BaseException) -> str:
    """Its message on one line, without passwords of URLs, or else its name; of a database's error what the
    driver said, without SQL."""
    return shown(" ".join(str(getattr(error, "orig", None) or error).split())) or type(error).__name__


def named(error: BaseException) -> str:
    """Its message, behind its name where it is not ours, and what it came of: a client's own error may not
    say that a name is unknown."""
    is_ours = type(error).__module__.partition(".")[0] in OURS
    words = one_line(error) if is_ours else f"{type(error).__name__}: {one_line(error)}"
    return words if error.__cause__ is None else f"{words} ({one_line(error.__cause__)})"
