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
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic

from primum.errors import InputError, PrimumError
from primum.serving.hangup import Held, hold
from primum.serving.observability.logs import configure, note
from primum.serving.options import ServeOptions
from primum.serving.server import GRACE_S, serve
from primum.serving.worker import Worker

_SPAWN = multiprocessing.get_context("spawn")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
"""Before a worker is started again; doubled each time that it ends before it was ready."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def supervise(options: ServeOptions) -> None:
    """Serve by `options.workers` processes until SIGINT or SIGTERM. SIGHUP has each of them read its files anew.

    Raises InputError where the port is taken. Ends as the first worker does where that cannot start.
    """
    configure(options.log_json)
    with tempfile.TemporaryDirectory(prefix="primum-") as folder, _bound(options.host, options.port) as sockets:
        plan = [Worker(number, options.workers, 0, sockets, None, Path(folder)) for number in _numbers(options)]
        status = _Supervisor(options, plan).run()
    if status:
        sys.exit(status)
    note("stopped")


class _Member:
    """A worker's process, and how it fares."""

    def __init__(self, options: ServeOptions, worker: Worker) -> None:
        self.worker = worker
        self.leash, given = _SPAWN.Pipe()
        self.process: BaseProcess = _SPAWN.Process(target=_work, args=(options, replace(worker, leash=given)))
        self.process.start()
        given.close()
        self.ready = self.reread = False

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
            # One alone first: what is wrong with the models or the options is told once.
            status = self._first(woken)
            for worker in self._plan[1:] if not self._ending else ():
                self._start(worker)
            while not self._ending:
                self._step(woken)
            self._end()
        return status

    def _start(self, worker: Worker) -> None:
        self._members[worker.number] = _Member(self._options, worker)

    def _first(self, woken: socket.socket) -> int:
        first = self._plan[0]
        self._start(first)
        member = self._members[first.number]
        while not (member.ready or self._ending):
            self._look(woken, None)
            if not member.process.is_alive() and not member.ready:
                self._ending = True
                return member.process.exitcode or 1
        return 0

    def _step(self, woken: socket.socket) -> None:
        due = min((when for when, _ in self._due.values()), default=None)
        self._look(woken, None if due is None else max(due - monotonic(), 0))
        for number, member in list(self._members.items()):
            if not member.process.is_alive() and not self._ending:
                self._lost(number, member)
        for number, (when, worker) in list(self._due.items()):
            if when <= monotonic() and not self._ending:
                del self._due[number]
                self._start(worker)

    def _lost(self, number: int, member: _Member) -> None:
        pause = _FIRST_PAUSE_S if member.ready else min(2 * self._pauses.get(number, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        self._pauses[number] = pause
        del self._members[number]
        member.leash.close()
        told = {"worker": number, "exit_status": member.process.exitcode, "again_in_s": pause}
        note("a worker ended and is started again", logging.ERROR, **told)
        self._due[number] = monotonic() + pause, replace(member.worker, restarts=member.worker.restarts + 1)

    def _look(self, woken: socket.socket, timeout: float | None) -> None:
        """Until something happens: a signal, a worker that is ready, one that ends."""
        waiting: dict[Connection, _Member] = {m.leash: m for m in self._members.values() if not m.ready}
        sentinels = [m.process.sentinel for m in self._members.values()]
        for one in wait([woken, *waiting, *sentinels], timeout):
            if one is woken:
                self._heed(woken.recv(4096))
            elif isinstance(one, Connection):
                self._told(waiting[one])

    def _told(self, member: _Member) -> None:
        with contextlib.suppress(EOFError, OSError):
            member.leash.recv()
            member.ready = True
            note("worker ready", worker=member.worker.number, of=member.worker.of)
            if member.reread:
                member.signal(signal.SIGHUP)

    def _heed(self, numbers: bytes) -> None:
        for number in numbers:
            if number in (signal.SIGTERM, signal.SIGINT):
                self._ending = True
            elif number == signal.SIGHUP:
                for member in self._members.values():
                    if member.ready:
                        member.signal(signal.SIGHUP)
                    member.reread = not member.ready

    def _end(self) -> None:
        for member in self._members.values():
            member.signal(signal.SIGTERM)
        last = monotonic() + GRACE_S + 10
        for member in self._members.values():
            member.process.join(max(last - monotonic(), 0))
            if member.process.is_alive():
                note("a worker did not end and is killed", logging.ERROR, worker=member.worker.number)
                member.process.kill()
                member.process.join()


def _work(options: ServeOptions, worker: Worker) -> None:
    """A worker's process."""
    hold()
    # Of the terminal's signal the supervisor tells; uvicorn listens to it later.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        serve(options, worker)
    except PrimumError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _numbers(options: ServeOptions) -> range:
    return range(1, options.workers + 1)


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
def _bound(host: str, port: int) -> Iterator[tuple[socket.socket, ...]]:
    """A socket for each address of `host`. Nobody listens yet."""
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, kind, protocol, _, address in dict.fromkeys(found):
                one = stack.enter_context(socket.socket(family, kind, protocol))
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                # Where any port will do, all addresses get the first one's.
                chosen = port or (sockets[0].getsockname()[1] if sockets else 0)
                one.bind((address[0], chosen, *address[2:]))
                sockets.append(one)
        except OSError as error:
            raise InputError(f"cannot bind to {host}:{port}: {error.strerror or error}") from error
        yield tuple(sockets)
