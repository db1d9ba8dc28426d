"""A parameter store seen from a GPU: planes are copied to it and back beside the computation.

The store's buffers are pinned, so a copy runs on a stream of its own while layers compute. One
thread speaks with the store: it waits for disks and copies, and the main thread does not.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pipeline.streaming.holders import Tensors
from pipeline.streaming.journal import Journal
from pipeline.streaming.layout import Plane
from pipeline.streaming.store import ParameterStore


class _Copied(NamedTuple):
    """A plane in the store's buffers and on the device, and the event that ends the copy."""

    host: Tensors
    here: Tensors
    done: Any


class OnDevice:
    """A :class:`~pipeline.streaming.holders.Holder` whose tensors are on ``device``."""

    def __init__(self, store: ParameterStore, device: torch.device) -> None:
        self._store, self._device = store, device
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="transfers")
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._coming: dict[tuple[str, Plane], Future[_Copied]] = {}
        self._here: dict[tuple[str, Plane], _Copied] = {}
        self._going: list[Future[None]] = []

    @property
    def journal(self) -> Journal:
        """Where the run stands, once all that was handed over has been committed."""
        self._settle()
        return self._store.journal

    def missing_parts(self) -> list[str]:
        """Parts that have no version yet."""
        return self._store.missing_parts()

    def prefetch(self, part: str, *planes: Plane) -> None:
        """Begin to read, and to copy to the device."""
        for plane in planes:
            if (part, plane) not in self._coming and (part, plane) not in self._here:
                self._coming[part, plane] = self._thread.submit(self._bring, part, plane)

    def fetch(self, part: str, *planes: Plane, read_only: bool = False) -> Tensors:
        """The tensors on the device."""
        self._raise_failures()
        self.prefetch(part, *planes)
        named: Tensors = {}
        for plane in planes:
            if (part, plane) in self._coming:
                copied = self._coming.pop((part, plane)).result()
                if copied.done is not None:
                    current = torch.cuda.current_stream(self._device)
                    current.wait_event(copied.done)
                    for tensor in copied.here.values():
                        tensor.record_stream(current)
                self._here[part, plane] = copied
            named |= self._here[part, plane].here
        return named

    def release(self, part: str, *planes: Plane) -> None:
        """Forget the copies; the store may keep its own."""
        copied = [self._here.pop((part, plane)) for plane in planes]
        self._going.append(self._thread.submit(self._give_back, part, planes, copied))

    def blank(self, part: str, *planes: Plane) -> Tensors:
        """Zeroed tensors on the device."""
        named: Tensors = {}
        for plane in planes:
            host = self._thread.submit(self._store.blank, part, plane).result()
            here = {
                name: torch.zeros_like(tensor, device=self._device) for name, tensor in host.items()
            }
            self._here[part, plane] = _Copied(host, here, None)
            named |= here
        return named

    def commit(
        self,
        part: str,
        planes: tuple[Plane, ...],
        journal: Journal,
        tensors: dict[str, Tensors | None] | None = None,
    ) -> None:
        """Hand over; the copy waits for what the device has been asked to compute."""
        self._raise_failures()
        changed = [self._here.pop((part, plane)) for plane in planes]
        computed = None
        if self._stream is not None:
            computed = torch.cuda.current_stream(self._device).record_event()
        job = (part, planes, journal, dict(tensors or {}), changed, computed)
        self._going.append(self._thread.submit(self._take, *job))

    def tensors(self, name: str) -> Tensors:
        """A set of tensors kept with the journal, in host memory."""
        self._settle()
        return self._store.tensors(name)

    def spill(self, key: str, tensor: Tensor) -> None:
        """Put away a boundary activation."""
        self._thread.submit(self._store.spill, key, tensor.cpu()).result()

    def unspill(self, key: str) -> Tensor:
        """Take it back to the device."""
        return self._thread.submit(self._store.unspill, key).result().to(self._device)

    def prefetch_spilled(self, key: str) -> None:
        """Begin to read it."""
        self._thread.submit(self._store.prefetch_spilled, key)

    def wait(self) -> None:
        """Until every commit is on the disk."""
        self._settle()
        self._store.wait()

    def _bring(self, part: str, plane: Plane) -> _Copied:
        host = self._store.fetch(part, plane)
        with self._copying():
            tensors = {
                name: tensor.to(self._device, non_blocking=True) for name, tensor in host.items()
            }
            done = None if self._stream is None else self._stream.record_event()
        return _Copied(host, tensors, done)

    def _give_back(self, part: str, planes: tuple[Plane, ...], copied: list[_Copied]) -> None:
        """Let the store have its buffers again, once nothing is copied from them any longer."""
        for plane in copied:
            if plane.done is not None:
                plane.done.synchronize()
        self._store.release(part, *planes)

    def _take(
        self,
        part: str,
        planes: tuple[Plane, ...],
        journal: Journal,
        sets: dict[str, Tensors | None],
        changed: list[_Copied],
        computed: Any,
    ) -> None:
        """Copy back into the store's own buffers and commit them."""
        with self._copying():
            if self._stream is not None:
                self._stream.wait_event(computed)
            for plane in changed:
                for name, tensor in plane.here.items():
                    if plane.host[name].data_ptr() != tensor.data_ptr():
                        plane.host[name].copy_(tensor, non_blocking=True)
            kept = {
                name: None if tensors is None else {key: t.cpu() for key, t in tensors.items()}
                for name, tensors in sets.items()
            }
            if self._stream is not None:
                self._stream.synchronize()
        self._store.commit(part, planes, journal, kept)

    def _copying(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def _settle(self) -> None:
        for future in self._going:
            future.result()
        self._going = []

    def _raise_failures(self) -> None:
        for future in self._going:
            if future.done():
                future.result()
        self._going = [future for future in self._going if not future.done()]
