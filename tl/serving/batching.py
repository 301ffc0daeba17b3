"""Requests that come at the same time are answered by one call of the network."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Sequence
from typing import Any

Run = Callable[[Sequence[Any]], Sequence[Any]]  # items -> an answer for each, in order


class Full(Exception):
    """More is waiting than may wait."""


class Batcher:
    """Collects items until there are `most`, or until `wait` seconds after the first, and hands them to `run`.

    `run` is called in a thread, one call at a time; while it is busy more items gather. At most `waiting` items wait.
    """

    def __init__(self, run: Run, most: int, wait: float, waiting: int) -> None:
        self.run, self.most, self.wait = run, most, wait
        self.queue: asyncio.Queue[tuple[Any, asyncio.Future]] = asyncio.Queue(waiting)
        self.sizes: dict[int, int] = {}  # items in a call -> calls
        self.worker: asyncio.Task | None = None
        self.thread = concurrent.futures.ThreadPoolExecutor(1)  # its own: not behind those that decode

    def start(self) -> None:
        self.worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Answer what waits, then end."""
        await self.queue.join()
        if self.worker:
            self.worker.cancel()

    async def ask(self, item: Any) -> Any:
        """The answer to one item; Full where too many wait."""
        future = asyncio.get_running_loop().create_future()
        try:
            self.queue.put_nowait((item, future))
        except asyncio.QueueFull:
            raise Full from None
        return await future

    async def _work(self) -> None:
        while True:
            pairs = await self._collect()
            try:
                loop = asyncio.get_running_loop()
                answers = await loop.run_in_executor(self.thread, self.run, [item for item, _ in pairs])
                self.sizes[len(pairs)] = self.sizes.get(len(pairs), 0) + 1
                for (_, future), answer in zip(pairs, answers, strict=True):
                    if not future.done():  # whoever asked may have gone
                        future.set_result(answer)
            except Exception as error:
                for _, future in pairs:
                    if not future.done():
                        future.set_exception(error)
            finally:
                for _ in pairs:
                    self.queue.task_done()

    async def _collect(self) -> list[tuple[Any, asyncio.Future]]:
        pairs = [await self._next()]
        end = asyncio.get_running_loop().time() + self.wait
        while len(pairs) < self.most:
            left = end - asyncio.get_running_loop().time()
            try:
                pairs.append(await asyncio.wait_for(self._next(), left) if left > 0 else self.queue.get_nowait())
            except (TimeoutError, asyncio.QueueEmpty):
                break
        return pairs

    async def _next(self) -> tuple[Any, asyncio.Future]:
        """The next item that somebody still waits for."""
        while True:
            pair = await self.queue.get()
            if not pair[1].done():
                return pair
            self.queue.task_done()
