"""What a tracker keeps an eye on beside the network: the time it takes, a loss that is no number, what goes wrong."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable
from typing import Any, Literal

from cutaway.errors import CutawayError, CutawayWarning, InputError, WorkError
from cutaway.training import told
from cutaway.training.run_writer import RunWriter


class Continued:
    """How often this process was told to go on after it was stopped (SIGCONT: after SIGSTOP, Ctrl-Z, a scheduler's
    suspension); it counts while somebody listens, and a handler that the program has is called as before.

    Nothing is counted where a program may not listen: outside the main thread, and on Windows.
    """

    def __init__(self) -> None:
        self.count = self._listeners = 0
        self._before: Any = None

    def listen(self) -> None:
        """Count from now on; each call wants its `leave`."""
        self._listeners += 1
        if self._listeners == 1 and hasattr(signal, "SIGCONT"):
            with contextlib.suppress(ValueError):
                self._before = signal.signal(signal.SIGCONT, self._hear)
                signal.siginterrupt(signal.SIGCONT, False)

    def leave(self) -> None:
        """Put the program's own handler back, unless it has set another meanwhile."""
        self._listeners -= 1
        if not self._listeners and hasattr(signal, "SIGCONT") and signal.getsignal(signal.SIGCONT) == self._hear:
            with contextlib.suppress(ValueError):
                signal.signal(signal.SIGCONT, signal.SIG_DFL if self._before is None else self._before)

    def _hear(self, number: int, frame: Any) -> None:
        self.count += 1
        if callable(self._before):
            self._before(number, frame)


CONTINUED = Continued()
"""The one of this process."""


class Clock:
    """Wall seconds since the first step and those `spent` on tracking, earlier sessions of a resumed run included.

    Time in which the process was stopped does not count: it would buy measurements that the training never paid for, or
    make one look so dear that no other came. It was stopped where SIGCONT says so: waiting without a processor, for a
    device or another process, is time like any other. What a pause with a stop would have taken is the longest one
    before, or the processor's seconds in it. A suspended machine needs no rule where its monotonic clock stands still
    (Linux, macOS). `now` and `busy` are the clocks of the wall and of the processor, `continued` counts SIGCONTs.
    """

    def __init__(
        self,
        now: Callable[[], float] | None = None,
        busy: Callable[[], float] | None = None,
        continued: Callable[[], int] | None = None,
    ) -> None:
        self._began: float | None = None
        self.before = self.spent = 0.0
        self.costs: list[float] = []
        self._now, self._busy = now or time.perf_counter, busy or time.process_time
        self._continued = continued or (lambda: CONTINUED.count)
        self._seen = self._worked = math.nan
        self._longest = self._stopped = 0.0
        self._count = 0

    @property
    def began(self) -> float | None:
        """When the first step came; while this is set, SIGCONT is listened to."""
        return self._began

    @began.setter
    def began(self, at: float | None) -> None:
        if (at is None) != (self._began is None):
            (CONTINUED.leave if at is None else CONTINUED.listen)()
        self._began = at

    def end(self) -> None:
        """The clock stands; what was counted stays."""
        self.before, self.began = self.elapsed, None

    def look(self) -> float:
        """Seconds of the process; to be asked at least once a step."""
        now, worked, count = self._now(), self._busy(), self._continued()
        pause, work = now - self._seen, worked - self._worked
        if count != self._count and pause > 0:
            self._stopped += max(0.0, pause - max(self._longest, work))
        elif pause > 0:
            self._longest = max(self._longest, pause)
        self._seen, self._worked, self._count = now, worked, count
        return now - self._stopped

    @property
    def elapsed(self) -> float:
        return self.before + (self.look() - self._began if self._began is not None else 0.0)

    @property
    def share(self) -> float:
        return self.spent / self.elapsed if self.elapsed > 0 else 0.0

    def add(self, seconds: float, measured: bool) -> None:
        self.spent += seconds
        if measured:
            self.costs.append(seconds)

    def tell_few(self, writer: RunWriter, steps: int) -> None:
        """Warn that a run was too short for its share of the time, and record it."""
        reason = (
            f"{len(self.costs)} measurements in {steps} steps: one takes {max(self.costs):.2g} s and the run took "
            f"{self.elapsed:.2g} s; give a larger share of the time, fewer points or a longer run"
        )
        writer.event(steps, "few-readings", reason=reason)
        told.warn(CutawayWarning(reason))


class LossWatch:
    """Looks at every loss that a tracker is told. Raises `InputError` for an `on_nan` that is neither."""

    def __init__(self, on_nan: Literal["mark", "stop"]) -> None:
        if on_nan not in ("mark", "stop"):
            raise InputError("on_nan", found=repr(on_nan), expected="'mark' or 'stop'", remedy="give one of the two")
        self.on_nan, self.told = on_nan, False

    def look(self, writer: RunWriter, step: int, loss: float | None) -> None:
        """Mark the first loss that is NaN or infinite in the journal; with "stop" every one raises `WorkError`."""
        if loss is None or math.isfinite(loss):
            return
        if not self.told:
            self.told = True
            writer.event(step, "nan", value=str(loss))
            if self.on_nan == "mark":
                told.warn(CutawayWarning(f"the loss is {loss} at step {step}; tracking goes on"), stacklevel=4)
        if self.on_nan == "stop":
            raise WorkError(
                f"training at step {step}",
                found=f"a loss of {loss}",
                expected="a finite loss",
                remedy="lower the learning rate or clip the gradients; what was measured is kept",
            )


class Troubles:
    """What would have ended the training is warned of once a kind, and recorded where there is a writer."""

    def __init__(self) -> None:
        self._kinds: set[str] = set()

    def tell(self, step: Any, error: Exception, writer: RunWriter | None, last: int) -> None:
        reason = str(error) if isinstance(error, CutawayError) else f"{type(error).__name__}: {error}"
        kind = f"{type(error).__name__} {getattr(error, 'expected', '')}"
        if kind in self._kinds:
            return
        self._kinds.add(kind)
        told.warn(CutawayWarning(f"step {step} is not recorded: {reason.rstrip('.')}"), 5)
        with contextlib.suppress(Exception):
            if writer is not None:
                writer.event(last, "not-recorded", reason=reason)
