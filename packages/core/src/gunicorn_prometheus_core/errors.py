"""The errors that cross the border between two distributions."""

from __future__ import annotations


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
    """
