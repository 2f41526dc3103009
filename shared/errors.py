"""What went wrong, in one line."""

from __future__ import annotations


class InputError(SystemExit):
    """Something that a run was given cannot be used; the program ends with this message and exit code 1.

    It is a SystemExit because MONAI wraps every Exception raised while a config is read in two of its own, and the reason
    would end up in the middle of a long traceback. Raised only for the run as a whole: a damaged case raises ValueError.
    """


def root_cause(error: BaseException) -> BaseException:
    """The exception that started a chain: MONAI wraps the reason in "applying transform ..."."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def describe(error: BaseException) -> str:
    """The message of the first cause on one line, with its type where the message alone says little."""
    cause = root_cause(error)
    text = " ".join(str(cause).split())
    return text if isinstance(cause, ValueError | OSError) and text else f"{type(cause).__name__}: {text}"
