"""What the applications of all frameworks have in common: the same twelve routes."""

import asyncio
import time

PARTS = (b"one, ", b"two, ", b"three")
FILE = __file__
SECONDS = 0.2
#: Of 64 KiB each: more than fits into the buffers between here and a client that doesn't read.
MANY = 1000


class Conflict(Exception):
    """The application has a handler for it."""


def parts():
    for part in PARTS:
        yield part
        time.sleep(0.01)


async def parts_async():
    for part in PARTS:
        yield part
        await asyncio.sleep(0.01)


def endless():
    for _ in range(MANY):
        yield b"x" * 65536


async def endless_async():
    for _ in range(MANY):
        yield b"x" * 65536
        await asyncio.sleep(0)
