"""Host memory of a parameter store: page-aligned buffers within one budget, used again and again.

Buffers come in as many sizes as planes do. A returned buffer is kept for the next of its size; it
is let go only when a buffer of another size needs its room. So there is no fragmentation: any set
of buffers whose sizes add up to the budget can be had.
"""

from __future__ import annotations

import mmap
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

ALIGNMENT = 64
"""Bytes, as torch aligns tensors: a product's last bit may depend on it."""


class Buffer:
    """Anonymous memory, as bytes for the disk and as a uint8 tensor (nbytes,) for everybody else.

    The memory goes when the last view of it does.
    """

    def __init__(self, nbytes: int, pin: bool = False) -> None:
        self.nbytes = nbytes
        mapping = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        # Fewer page faults and faster copies; the memory is used whole, so nothing is wasted.
        # Linux has huge pages for private memory only, unless it was told otherwise.
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


def lasting(sizes: Sequence[int], device: torch.device) -> Sequence[Tensor]:
    """Memory for what is kept between tensors that live for a moment: a uint8 tensor of each size.

    They are of one block, aligned as torch aligns its own. On the host it is none of the C
    library's: there each kept tensor comes to lie in the middle of what was freed last, which then
    is too small for the next large tensor and is not given back either. Seen: 37 MB more for each
    layer of 7 million parameters.
    """
    padded = [-(-size // ALIGNMENT) * ALIGNMENT for size in sizes]
    if device.type == "cpu":
        block = Buffer(sum(padded)).tensor
    else:
        block = torch.empty(sum(padded), dtype=torch.uint8, device=device)
    pieces = block.split(padded)
    return [piece[:size] for piece, size in zip(pieces, sizes, strict=True)]


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
