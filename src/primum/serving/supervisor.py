"""Several servers in processes of their own that share one port: started, started again when they end, ended together.

Each is a whole server with its own copy of the models, its own batches and its own event loop: for models so fast that
reading requests is most of the work. They listen on the same sockets, so that what one cannot take another does.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic

from primum.errors import InputError, PrimumError
from primum.serving.hangup import Held, hold
from primum.serving.observability.logs import configure, note
from primum.serving.options import ServeOptions
from primum.serving.server import ENDING_S, serve
from primum.serving.worker import Worker

_SPAWN = multiprocessing.get_context("spawn")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
"""Before a worker is started again; doubled each time that it ends before it was ready."""
_LONGEST_FOLDER = 96
"""Bytes: a Unix socket's path has 108 at most, on macOS 104."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def supervise(options: ServeOptions) -> None:
    """Serve by `options.workers` processes until SIGINT or SIGTERM. SIGHUP has each of them read its files anew.

    Raises InputError where the port is taken. Ends as the first worker does where that cannot start, and with 1 where
    a worker had to be killed at the end.
    """
    configure(options.log_json)
    # `python -c`, by which a process is spawned, would import from the current folder first.
    os.environ["PYTHONSAFEPATH"] = "1"
    # It lets signals through where it is started, which would be in the midst of a worker's start.
    resource_tracker.ensure_running()
    with _folder() as folder, _bound(options.host, options.port) as sockets:
        numbers = range(1, options.workers + 1)
        plan = [Worker(number, options.workers, 0, sockets, None, folder) for number in numbers]
        status = _Supervisor(options, plan).run()
    if status:
        sys.exit(status)
    note("stopped")


class _Member:
    """A worker's process, and how it fares."""

    def __init__(self, options: ServeOptions, worker: Worker) -> None:
        """Raises OSError where there is no memory or descriptor for it."""
        self.worker = worker
        self.leash, given = _SPAWN.Pipe()
        with given:
            try:
                self.process: BaseProcess = _SPAWN.Process(target=_work, args=(options, replace(worker, leash=given)))
                # They wait until the worker can act on them.
                was = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
                try:
                    self.process.start()
                finally:
                    signal.pthread_sigmask(signal.SIG_SETMASK, was)
            except BaseException:
                self.leash.close()
                raise
        self.ready = self.deaf = self.reread = False

    def signal(self, number: int) -> None:
        """Pass a signal on."""
        # Asked first: the number of one that has ended and was waited for may be another process's by now.
        if self.process.is_alive() and self.process.pid is not None:
            os.kill(self.process.pid, number)


class _Supervisor:
    def __init__(self, options: ServeOptions, plan: list[Worker]) -> None:
        self._options, self._plan = options, plan
        self._members: dict[int, _Member] = {}
        self._pauses: dict[int, float] = {}
        self._due: dict[int, tuple[float, Worker]] = {}
        """When a worker is started again."""
        self._ending = False

    def run(self) -> int:
        """Until the end; the exit status."""
        with _wakeup() as woken:
            try:
                # One alone first: what is wrong with the models or the options is told once.
                status = self._first(woken)
                for worker in self._plan[1:] if not self._ending else ():
                    self._start(worker)
                while not self._ending:
                    self._step(woken)
            finally:
                ended_well = self._end()
        return status or int(not ended_well)

    def _start(self, worker: Worker) -> None:
        try:
            self._members[worker.number] = _Member(self._options, worker)
        except OSError as error:
            self._again(worker, False, why=error.strerror or type(error).__name__)

    def _first(self, woken: socket.socket) -> int:
        first = self._plan[0]
        member = self._members[first.number] = _Member(self._options, first)
        while not (member.ready or self._ending):
            self._look(woken, None)
            if not member.process.is_alive() and not member.ready:
                self._ending = True
                return _as_shell(member.process.exitcode or 1)
        return 0

    def _step(self, woken: socket.socket) -> None:
        due = min((when for when, _ in self._due.values()), default=None)
        self._look(woken, None if due is None else max(due - monotonic(), 0))
        if self._ending:
            return
        for number, member in list(self._members.items()):
            if not member.process.is_alive():
                del self._members[number]
                member.leash.close()
                self._again(member.worker, member.ready, exit_status=_as_shell(member.process.exitcode or 0))
        for number, (when, worker) in list(self._due.items()):
            if when <= monotonic():
                del self._due[number]
                self._start(worker)

    def _again(self, worker: Worker, was_ready: bool, **why: str | int) -> None:
        """Start a worker again, the later the more often it ended before it was ready."""
        number, before = worker.number, self._pauses.get(worker.number, _FIRST_PAUSE_S)
        pause = self._pauses[number] = _FIRST_PAUSE_S if was_ready else min(2 * before, _LONGEST_PAUSE_S)
        note("a worker ended and is started again", logging.ERROR, worker=number, again_in_s=pause, **why)
        self._due[number] = monotonic() + pause, replace(worker, restarts=worker.restarts + 1)

    def _look(self, woken: socket.socket, timeout: float | None) -> None:
        """Until something happens: a signal, a worker that is ready, one that ends."""
        members = self._members.values()
        waiting: dict[Connection, _Member] = {m.leash: m for m in members if not (m.ready or m.deaf)}
        for one in wait([woken, *waiting, *(m.process.sentinel for m in members)], timeout):
            if one is woken:
                self._heed(woken.recv(4096))
            elif isinstance(one, Connection):
                self._told(waiting[one])

    def _told(self, member: _Member) -> None:
        try:
            member.leash.recv()
        except (EOFError, OSError):  # it is about to end
            member.deaf = True
            return
        member.ready = True
        note("worker ready", worker=member.worker.number, of=member.worker.of)
        if member.reread:
            member.signal(signal.SIGHUP)
        if sum(one.ready for one in self._members.values()) == len(self._plan):
            # Each read its files when it was started: now all do, so that one port does not answer by two versions.
            self._pass_on(signal.SIGHUP)

    def _heed(self, numbers: bytes) -> None:
        for number in numbers:
            if number == signal.SIGHUP:
                self._pass_on(number)
            else:
                self._ending = True

    def _pass_on(self, number: int) -> None:
        """Now to those that are ready, later to the others."""
        for member in self._members.values():
            if member.ready:
                member.signal(number)
            member.reread = not member.ready

    def _end(self) -> bool:
        """End all; whether none had to be killed or failed."""
        for one in self._plan[0].sockets:  # or clients would connect, and nobody answer
            one.close()
        for member in self._members.values():
            member.signal(signal.SIGTERM)
            member.leash.close()
        last, well = monotonic() + ENDING_S, True
        for member in self._members.values():
            member.process.join(max(last - monotonic(), 0))
            if member.process.is_alive():
                note("a worker did not end and is killed", logging.ERROR, worker=member.worker.number)
                member.process.kill()
                member.process.join()
            well = well and not (member.ready and member.process.exitcode)
        return well


def _work(options: ServeOptions, worker: Worker) -> None:
    """A worker's process."""
    hold()
    # Of the terminal's signal the supervisor tells; uvicorn listens to it later.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    try:
        serve(options, worker)
    except PrimumError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _as_shell(exitcode: int) -> int:
    """Of a process that a signal ended, as shells tell it."""
    return 128 - exitcode if exitcode < 0 else exitcode


@contextlib.contextmanager
def _wakeup() -> Iterator[socket.socket]:
    """A socket from which the numbers of signals can be read, one byte each."""
    held = signal.getsignal(signal.SIGHUP)
    reading, writing = socket.socketpair()
    with reading, writing:
        writing.setblocking(False)
        signal.set_wakeup_fd(writing.fileno())
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        if isinstance(held, Held) and held.heard:
            writing.send(bytes([signal.SIGHUP]))
        try:
            yield reading
        finally:
            signal.set_wakeup_fd(-1)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Where workers find one another. Raises InputError."""
    try:
        made = tempfile.TemporaryDirectory(prefix="primum-", ignore_cleanup_errors=True)
    except OSError as error:
        raise InputError(f"--workers needs a folder for temporary files (TMPDIR): {error.strerror}") from error
    with made as name:
        if len(os.fsencode(name)) > _LONGEST_FOLDER:
            raise InputError(f"{name}: too long for the name of a socket; set TMPDIR to a shorter one")
        yield Path(name)


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[tuple[socket.socket, ...]]:
    """A socket for each address of `host`. Nobody listens yet."""
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, kind, protocol, _, address in dict.fromkeys(found):
                try:
                    one = stack.enter_context(socket.socket(family, kind, protocol))
                except OSError:  # a kernel without that family
                    continue
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                # Where any port will do, all addresses get the first one's.
                chosen = port or (sockets[0].getsockname()[1] if sockets else 0)
                one.bind((address[0], chosen, *address[2:]))
                sockets.append(one)
        except OSError as error:
            raise InputError(f"cannot bind to {host}:{port}: {error.strerror or error}") from error
        if not sockets:
            raise InputError(f"cannot bind to {host}:{port}: this machine has no such kind of address")
        yield tuple(sockets)
