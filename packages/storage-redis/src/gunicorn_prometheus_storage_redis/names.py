"""The names of the keys in Redis.

``<prefix>:<instance>:metric:values``  hash of chunks: the instance's doubles
``<prefix>:<instance>:meta:keys``      string: what each of the doubles is, a log that is added to
``<prefix>:<instance>:meta:state``     string: length of both, and the instance's processes
``<prefix>:<instance>:metric:remarks`` hash: exemplars, and what Info and Enum say
``<prefix>:all:meta:instances``        sorted set: instances that count, by time of last publish
``<prefix>:archive:...``               the same three for the counts of instances that are gone
``<prefix>:archive:meta:version``      string: lineage and number of what the archive holds
``<prefix>:archive:meta:folded``       sorted set: what has been added to the archive, by time
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ARCHIVE = "archive"


def sanitized(name: str) -> str:
    """A name as it can be part of a key: nothing in it separates or tags."""
    return re.sub(r"[^\w.@-]", "_", name) or "_"


@dataclass(frozen=True)
class Names:
    """The keys under one prefix. In a cluster the prefix is a hash tag, so all are in one slot."""

    prefix: str

    @classmethod
    def under(cls, prefix: str, *, cluster: bool = False) -> Names:
        """The keys under a configured prefix."""
        return cls(f"{{{prefix}}}" if cluster and "{" not in prefix else prefix)

    @property
    def instances(self) -> str:
        """The index."""
        return f"{self.prefix}:all:meta:instances"

    @property
    def version(self) -> str:
        """Lineage and number of the archive."""
        return f"{self.prefix}:{ARCHIVE}:meta:version"

    @property
    def folded(self) -> str:
        """What has been added to the archive."""
        return f"{self.prefix}:{ARCHIVE}:meta:folded"

    def data(self, instance: str) -> tuple[str, str, str]:
        """Values, keys and state of one instance."""
        own = f"{self.prefix}:{instance}"
        return f"{own}:metric:values", f"{own}:meta:keys", f"{own}:meta:state"

    def remarks(self, instance: str) -> str:
        """What the instance says of its series."""
        return f"{self.prefix}:{instance}:metric:remarks"

    def remains(self, instance: str) -> tuple[str, str, str]:
        """Where what was added to the archive of an instance is kept for a while."""
        return self.data(f"{instance}:folded")
