"""A program in the foreground: its end is waited for while signals, the terminal's size and job control are passed on.

No byte of its streams passes here: the shim has the descriptors. Signals only mark what happened; everything is done
between two waits. A program in a container may be process 1 of its namespace, for which the kernel ignores every signal
that it does not handle: where it would have died of one, it is ended in the kernel's place. Our own init passes every
one on.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import time

from stockade.errors import NotFound, StockadeError, Unavailable
from stockade.runtime.attach import Attachment
from stockade.runtime.blocking import Channel, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from stockade.runtime.blocking import Pending
    from stockade.runtime.task import Task

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
# Those of them whose default is to end the process, and that people and systems end programs with.
ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
# How long output may still come once the end is known, in seconds: a descendant may hold a pipe that we handed over.
DRAIN = 5.0


class Interrupted(BaseException):
    """A signal that ends came before the program ran, or after: unwinds through every clean-up. `number` says which."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """What arrived. Outside of `kept` a signal that ends raises Interrupted, at most once.

    To be caught around the `with` statement, for it may come while that begins or ends.
    """

    def __init__(self) -> None:
        self.pending: list[int] = []
        self.waiting = False
        self._raised = False
        self._old: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}
        self.reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def __enter__(self) -> Signals:
        for number in (*FORWARDED, signal.SIGWINCH, signal.SIGTSTP):
            self._old[number] = signal.signal(number, self._arrived)
        return self

    def __exit__(self, *_: object) -> None:
        for number, old in self._old.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)
        os.close(self.reader)
        os.close(self._writer)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """From the program's start on signals are for it: they are kept until `take`."""
        self.waiting = True
        try:
            yield
        finally:
            self.waiting = False

    def take(self) -> list[int]:
        """What arrived since the last time, in order."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.reader, 4096)
        taken, self.pending = self.pending, []
        return taken

    def _arrived(self, number: int, _: FrameType | None) -> None:
        if not self.waiting and number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self.waiting or number not in ENDING:
            self.pending.append(number)
            with contextlib.suppress(BlockingIOError):
                os.write(self._writer, b"!")
        elif not self._raised:
            self._raised = True
            raise Interrupted(number)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let nobody interrupt what makes or removes a container; a signal takes effect afterwards, SIGQUIT at once."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING - {signal.SIGQUIT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Foreground:
    """One started program, seen from the caller's terminal."""

    def __init__(self, task: Task, wait: Pending, attachment: Attachment, signals: Signals, pid: int) -> None:
        self._task = task
        self._wait = wait
        self._attachment: Attachment | None = attachment
        self._signals = signals
        self._pid = pid
        self.exec_id = ""
        self.init = False
        """Whether an init of ours is process 1, and passes signals on."""
        self.killed_by = 0
        """The signal in whose place the program was killed; 0: none."""

    def wait(self, terminal: bool) -> None:
        """Return when the program has ended and its output was delivered, or its shim is gone."""
        channel = self._task.channel
        assert isinstance(channel, Channel)
        deadline: float | None = None
        while not self._wait.done or self._attachment is not None:
            if self._wait.done and deadline is None:
                deadline = time.monotonic() + DRAIN
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            for ready in self._poll(channel, left):
                self._handle(ready, channel, terminal)

    def _poll(self, channel: Channel, left: float | None) -> list[int]:
        poll = select.poll()
        poll.register(self._signals.reader, select.POLLIN)
        if not self._wait.done and channel.fileno() >= 0:
            poll.register(channel.fileno(), select.POLLIN)
        if self._attachment is not None:
            poll.register(self._attachment.fileno(), select.POLLIN)
        return [descriptor for descriptor, _ in poll.poll(None if left is None else left * 1000)]

    def _handle(self, ready: int, channel: Channel, terminal: bool) -> None:
        if ready == self._signals.reader:
            for number in self._signals.take():
                self._pass_on(number, terminal)
        elif self._attachment is not None and ready == self._attachment.fileno():
            self._attachment.receive()
            self._attachment.close()
            self._attachment = None
        elif ready == channel.fileno():
            channel.pump()

    def _pass_on(self, number: int, terminal: bool) -> None:
        try:
            if number == signal.SIGWINCH:
                if terminal:
                    run(self._task.resize(*window_size(), self.exec_id))
            elif number == signal.SIGTSTP:
                self._suspend()
            elif number in ENDING and not self.init and dies_of(self._pid, number):
                self.killed_by = number
                run(self._task.kill(signal.SIGKILL, self.exec_id, everything=not self.exec_id))
            else:
                run(self._task.kill(number, self.exec_id))
        except (NotFound, Unavailable):
            # It ended meanwhile; the next look finds out.
            return

    def _suspend(self) -> None:
        """Ctrl-Z: stop the program, then ourselves; when the shell continues us, both go on."""
        run(self._task.kill(signal.SIGSTOP, self.exec_id, everything=not self.exec_id))
        os.kill(os.getpid(), signal.SIGSTOP)
        run(self._task.kill(signal.SIGCONT, self.exec_id, everything=not self.exec_id))


def dies_of(pid: int, number: int) -> bool:
    """Whether it is process 1 of its namespace and takes no notice of a signal, so that the kernel would not end it."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            fields = dict(line.split(":\t", 1) for line in file if ":\t" in line)
    except OSError:
        return False
    heard = int(fields["SigCgt"], 16) | int(fields["SigIgn"], 16)
    return fields["NSpid"].split()[-1] == "1" and not heard >> (number - 1) & 1


def window_size() -> tuple[int, int]:
    """Rows and columns of the terminal; 24 × 80 where it has none."""
    for descriptor in (0, 1, 2):
        try:
            columns, rows = os.get_terminal_size(descriptor)
        except OSError:
            continue
        if rows and columns:
            return rows, columns
    return 24, 80


@contextlib.contextmanager
def raw_terminal(wanted: bool) -> Iterator[None]:
    """Let every key reach the program as it is (cfmakeraw of termios(3)); as before on every way out."""
    if not wanted:
        yield
        return
    before = termios.tcgetattr(0)
    raw = [*before[:6], list(before[6])]
    raw[0] &= ~(
        termios.IGNBRK
        | termios.BRKINT
        | termios.PARMRK
        | termios.ISTRIP
        | termios.INLCR
        | termios.IGNCR
        | termios.ICRNL
        | termios.IXON
    )
    raw[1] &= ~termios.OPOST
    raw[2] = raw[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    raw[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
    termios.tcsetattr(0, termios.TCSADRAIN, raw)
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def flush() -> None:
    """Write out what is ours before the program writes to the same descriptors."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def quietly(action: Callable[[], object]) -> None:
    """Do something whose failure changes nothing any more."""
    with contextlib.suppress(StockadeError):
        action()
