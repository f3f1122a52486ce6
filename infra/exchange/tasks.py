"""Tasks that are waited for and ended in order."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any


async def prompt(asking: Iterable["asyncio.Future[Any]"], late_s: float) -> None:
    """Until all are done, or so many seconds after the first that has something."""
    pending = set(asking)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if any(task.exception() is None and task.result() for task in done):
            break
    if pending:
        await asyncio.wait(pending, timeout=late_s)


async def finished(function: Callable[..., Any], *arguments: Any) -> None:
    """Run a function that blocks in a thread, and to its end even when cancelled in between."""
    running = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await running
        raise


async def end(tasks: Sequence["asyncio.Future[Any]"]) -> None:
    """Cancel what still runs, and wait for it."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
