"""Host memory of a parameter store: page-aligned buffers within one budget, used again and again.

Buffers come in as many sizes as planes do. A returned buffer is kept for the next of its size; it
is let go only when a buffer of another size needs its room. So there is no fragmentation: any set
of buffers whose sizes add up to the budget can be had.
"""

from __future__ import annotations

import mmap
from collections import defaultdict

import torch
from torch import Tensor


class Buffer:
    """Anonymous memory, as bytes for the disk and as a uint8 tensor (nbytes,) for everybody else.

    The memory goes when the last view of it does.
    """

    def __init__(self, nbytes: int, pin: bool = False) -> None:
        self.nbytes = nbytes
        mapping = mmap.mmap(-1, nbytes)
        # Fewer page faults and faster copies; the memory is used whole, so nothing is wasted.
        mapping.madvise(mmap.MADV_HUGEPAGE)
        self.bytes = memoryview(mapping)
        # An inference tensor could not be trained later on, should the caller be in that mode.
        with torch.inference_mode(False):
            self.tensor: Tensor = torch.frombuffer(mapping, dtype=torch.uint8)
        self.pinned = pin and torch.cuda.is_available()
        if self.pinned:
            _check_cuda(torch.cuda.cudart().cudaHostRegister(self.tensor.data_ptr(), nbytes, 0))

    def unpin(self) -> None:
        """Undo the pinning before the memory goes."""
        if self.pinned:
            _check_cuda(torch.cuda.cudart().cudaHostUnregister(self.tensor.data_ptr()))
            self.pinned = False


class BufferPool:
    """Hands out buffers of at most ``budget_bytes`` in all. Not safe for threads by itself."""

    def __init__(self, budget_bytes: int, pin: bool = False) -> None:
        self.budget_bytes = budget_bytes
        self._pin = pin
        self._mapped_bytes = 0
        self._free: dict[int, list[Buffer]] = defaultdict(list)

    def take(self, nbytes: int) -> Buffer | None:
        """A buffer of exactly ``nbytes`` with any content, or None if there is no room now."""
        if self._free[nbytes]:
            return self._free[nbytes].pop()
        while self._mapped_bytes + nbytes > self.budget_bytes and self._drop_one():
            pass
        if self._mapped_bytes + nbytes > self.budget_bytes:
            return None
        self._mapped_bytes += nbytes
        return Buffer(nbytes, self._pin)

    def give(self, buffer: Buffer) -> None:
        """Take a buffer back."""
        self._free[buffer.nbytes].append(buffer)

    def close(self) -> None:
        """Let go of the free buffers."""
        while self._drop_one():
            pass

    def _drop_one(self) -> bool:
        for buffers in self._free.values():
            if buffers:
                buffer = buffers.pop()
                buffer.unpin()
                self._mapped_bytes -= buffer.nbytes
                return True
        return False


def _check_cuda(code: object) -> None:
    torch.cuda.check_error(int(code))  # type: ignore[call-overload]
