"""What went wrong, in one line."""

from __future__ import annotations


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
