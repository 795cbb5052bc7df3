"""The soft time limit: code of the author's that runs past it is interrupted once, and may end its batch in order.

A thread watches the clock and knocks at the main thread with a signal. The signal's handler runs in the main thread,
between two steps of Python, and looks for itself: only if the batch that runs now is past its limit, and it is the
author's code that runs, does it raise. So a knock that comes late, for a batch that has ended, does nothing to the next
one, and nothing is ever raised in our own code. What C code does is interrupted when it comes back to Python; a system
call that waits, at once.

The signal is one of the real-time ones and the timer a thread, so that SIGALRM and the process's one timer stay the
author's.
"""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from cresset._current import SoftTimeout

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from cresset.runner._failure import Stage

_KNOCK: Final = signal.SIGRTMIN + 5
"""No library that we know of uses it: glibc takes the first two, and profilers those at the end."""


class SoftLimit:
    """Of all batches of this process. Main thread only, but for the watching."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._until: float | None = None
        self._is_inside = False
        self._is_spent = False
        self.stage: Stage = "predict"

    def begin(self) -> float | None:
        """A batch begins: from now on its time is counted. Gives when it is over, by the monotonic clock."""
        self.stage = "predict"
        # It is still set when what was raised came between the end of the author's code and `finally`.
        self._is_inside = False
        if self._seconds is None:
            return None
        self._is_spent = False
        self._until = time.monotonic() + self._seconds
        return self._until

    def end(self) -> None:
        """The batch has ended: nothing is interrupted until the next one begins."""
        self._until = None

    def call(self, stage: Stage, function: Callable[[Any], Any], argument: Any) -> Any:
        """Call the author's code.

        Raises:
            SoftTimeout: its time is over, once for each batch; unless the code has caught it.
            BaseException: whatever the code raises.
        """
        self.stage = stage
        if self._until is None:
            return function(argument)
        self._is_inside = True
        try:
            self._look()  # a knock while our own code ran was not let in
            return function(argument)
        finally:
            self._is_inside = False

    def quietly(self, function: Callable[..., None], *arguments: Any) -> None:
        """Do something of ours that the author's code asked for, and that must not be interrupted.

        Raises:
            SoftTimeout: as in `call`, after it.
        """
        if not self._is_inside or threading.current_thread() is not threading.main_thread():
            function(*arguments)
            return
        self._is_inside = False
        try:
            function(*arguments)
        finally:
            self._is_inside = True
        self._look()  # a knock meanwhile was not let in

    def failure(self) -> dict[str, Any]:
        """Give what sets the failure of a batch that was interrupted apart from others."""
        return {
            "stage": self.stage,
            "message": f"the batch had not ended after {self._seconds:g} s, the soft time limit",
            "code": "soft_timeout",
            "hint": "make the model faster, or raise limits.soft_timeout in model.toml",
        }

    def watch(self) -> None:
        """Begin to watch the clock, if there is a limit. Once, after the model has been loaded."""
        if self._seconds is None:
            return
        signal.signal(_KNOCK, self._on_knock)
        threading.Thread(target=self._watch, args=(self._seconds,), name="cresset-soft-timeout", daemon=True).start()

    def _look(self) -> None:
        """Raise if it is time to, and was not done before: whoever caught it is to end in order."""
        until = self._until
        if self._is_inside and not self._is_spent and until is not None and time.monotonic() >= until:
            self._is_spent = True
            raise SoftTimeout

    def _on_knock(self, _signal: int, _frame: FrameType | None) -> None:
        self._look()

    def _watch(self, seconds: float) -> None:
        main = threading.main_thread().ident
        assert main is not None  # it has started: it started us
        knocked: float | None = None
        while True:
            until = self._until
            if until is None or until == knocked:
                # Whatever begins from now on has all of its time before it.
                time.sleep(seconds)
                continue
            left = until - time.monotonic()
            if left > 0:
                time.sleep(left)
                continue
            knocked = until
            signal.pthread_kill(main, _KNOCK)
