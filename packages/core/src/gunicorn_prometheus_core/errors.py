"""The errors that cross the border between two distributions."""

from __future__ import annotations


def reason(error: BaseException) -> str:
    """What an exception says, in one line; its class where it says nothing.

    Libraries raise exceptions without a text, and a log line must not end in a colon.
    """
    return " ".join(str(error).split()) or type(error).__name__


class SettingsError(ValueError):
    """A setting has a value that can't be used.

    The message is one line for the operator: setting, value, where the value
    came from, and what is allowed.
    """


class MissingPart(ImportError):
    """A distribution that the configuration asks for is not installed.

    The message names the ``pip install`` that brings it.
    """


class StorageUnavailable(Exception):
    """A storage backend can't be reached or read just now.

    The one error a backend raises for trouble outside of itself; raise it
    ``from`` the library's own exception. Callers back off, count and retry.
    Its text is one line and never ends before the reason: what the library's
    exception doesn't say is named by its class.
    """

    def __str__(self) -> str:
        text = " ".join(super().__str__().split())
        if text and not text.endswith(":"):
            return text
        cause = type(self).__name__ if self.__cause__ is None else reason(self.__cause__)
        return f"{text} {cause}".lstrip()
