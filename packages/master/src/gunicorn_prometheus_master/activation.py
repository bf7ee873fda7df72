"""How a running Arbiter becomes a PrometheusMaster.

Gunicorn imports the worker class from within ``Arbiter.__init__``, too late to
replace the class that is being instantiated. So one method is wrapped: when
``Arbiter.start`` runs, the instance's class becomes PrometheusMaster, and from
then on everything is an ordinary subclass that calls ``super()``.
"""

from __future__ import annotations

import functools
from typing import Any

from gunicorn.arbiter import Arbiter


def activate() -> None:
    """Make every Arbiter of this process that starts from now on a PrometheusMaster.

    Repeating it does nothing. To be called in the master, before it starts.
    """
    start = Arbiter.start
    if hasattr(start, "__wrapped__"):
        return

    @functools.wraps(start)
    def promote_and_start(self: Any) -> None:
        from .arbiter import PrometheusMaster

        if isinstance(self, PrometheusMaster):
            start(self)
        else:
            PrometheusMaster.promote(self)
            self.start()

    Arbiter.start = promote_and_start
