"""The C library's allocator, told to suit training."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Keeps freed memory for the next step instead of returning it to the system.

    Otherwise every large tensor is mapped anew and its pages are cleared by the kernel, which takes a third of a
    training step on a processor. Does nothing where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
