"""The logger of all parts."""

from __future__ import annotations

import logging

#: Below Gunicorn's own, so that our lines go where ``errorlog`` and ``loglevel`` say. In a process
#: without Gunicorn it is an ordinary logger.
log: logging.Logger = logging.getLogger("gunicorn.error.prometheus")
