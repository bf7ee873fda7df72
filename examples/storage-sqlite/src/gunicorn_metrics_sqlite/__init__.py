"""Gunicorn's metrics in an SQLite file that several servers of one machine share."""

from .backend import SqliteBackend

__all__ = ["SqliteBackend"]
