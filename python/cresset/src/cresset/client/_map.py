"""Many inputs in threads, a bounded number at a time: what `Client.map` is made of."""

from __future__ import annotations

from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator, Iterable

_T = TypeVar("_T")


def pipeline(
    one: Callable[[Any], _T],
    inputs: Iterable[Any],
    in_flight: int,
    stop: threading.Event,
    *,
    ordered: bool,
    return_exceptions: bool,
) -> Generator[Any, None, None]:
    """Run `one` on every input in threads, with at most `in_flight` begun and not yet given back."""
    pool = ThreadPoolExecutor(in_flight, thread_name_prefix="cresset-map")
    pending: deque[Future[_T]] = deque()
    try:
        for value in inputs:
            if len(pending) >= in_flight:
                yield _outcome(_next(pending, ordered=ordered), return_exceptions=return_exceptions)
            pending.append(pool.submit(one, value))
        while pending:
            yield _outcome(_next(pending, ordered=ordered), return_exceptions=return_exceptions)
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _next(pending: deque[Future[_T]], *, ordered: bool) -> Future[_T]:
    if ordered:
        future = pending.popleft()
        wait((future,))
        return future
    done = wait(pending, return_when=FIRST_COMPLETED).done
    future = next(future for future in pending if future in done)
    pending.remove(future)
    return future


def _outcome(future: Future[Any], *, return_exceptions: bool) -> Any:
    error = future.exception()
    if error is None:
        return future.result()
    if return_exceptions and isinstance(error, Exception):
        return error
    raise error
