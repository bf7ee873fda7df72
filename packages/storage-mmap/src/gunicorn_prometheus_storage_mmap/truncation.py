"""Surviving that somebody truncates a page file while it is mapped.

A store into a mapped page that the file no longer has is answered with SIGBUS,
which ends the process: the application's process, in the middle of a request.
No check before the store can exclude that, so the signal is handled: memory
takes the place of what the file has lost, and the store goes on. Whoever reads
the file finds it corrupt, sets it aside and counts that.

The handler is a C function made by ctypes. It runs Python while a store waits,
which is safe here because the signal comes at a place we know: while an item
of a memoryview, or a slice of a mmap, is copied. A SIGBUS from anywhere else
gets what it would have got without us. See sigaction(2), mmap(2).
"""

from __future__ import annotations

import ctypes
import mmap
import signal
import sys
import weakref

_SA_SIGINFO = 4
_SA_RESTART = 0x10000000
#: Offset of ``si_addr`` in ``siginfo_t`` on 64-bit Linux.
_SI_ADDR = 16
_MAP_FIXED = 0x10

_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


class _Action(ctypes.Structure):
    """``struct sigaction`` of Linux's C libraries."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_byte * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


_guarded: weakref.WeakKeyDictionary[mmap.mmap, int] = weakref.WeakKeyDictionary()
_installed: list[object] = []


def guard(mapped: mmap.mmap) -> None:
    """Let stores into this mapping survive a truncation of its file, while it exists."""
    if _supported():
        _install()
        _guarded[mapped] = ctypes.addressof(ctypes.c_char.from_buffer(mapped))


def _supported() -> bool:
    return sys.platform == "linux" and ctypes.sizeof(ctypes.c_void_p) == 8


def _install() -> None:
    """Handle SIGBUS from now on, once per process and its forks."""
    if _installed:
        return
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (
        *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int),
        *(ctypes.c_int, ctypes.c_int, ctypes.c_long),
    )
    before = _Action()

    def on_sigbus(number: int, info: int, _context: int) -> None:
        address = ctypes.c_size_t.from_address(info + _SI_ADDR).value
        for mapped, start in _guarded.items():
            end = start + len(mapped)
            if start <= address < end:
                page = address & -mmap.PAGESIZE
                flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED
                protection = mmap.PROT_READ | mmap.PROT_WRITE
                if libc.mmap(page, end - page, protection, flags, -1, 0) == page:
                    return
        # Not ours: on return the instruction faults again, and finds what was there before.
        libc.sigaction(number, ctypes.byref(before), None)

    handler = _Handler(on_sigbus)
    action = _Action(ctypes.cast(handler, ctypes.c_void_p).value, flags=_SA_SIGINFO | _SA_RESTART)
    libc.sigaction(int(signal.SIGBUS), ctypes.byref(action), ctypes.byref(before))
    # The C side holds no reference to them.
    _installed.extend((handler, before))
