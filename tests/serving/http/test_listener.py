"""Many connections at once, on a real socket, while turns of the event loop are long."""

import asyncio
import contextlib
import socket
import threading
import time

import pytest
import uvicorn
import uvloop
from served import free_port

from primum.serving.http.listener import ACCEPTS, Listener

CLIENTS, BUSY_S = 64, 0.02


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@contextlib.contextmanager
def running(kind):
    port = free_port()
    server = kind(uvicorn.Config(app, port=port, loop="uvloop", lifespan="off", log_config=None))
    loops = []

    async def serve():
        loops.append(asyncio.get_running_loop())
        await server.serve()

    def run():
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield port, server, loops[0]
    finally:
        server.should_exit = True
        thread.join()


def turns_to_accept(kind):
    """Turns of a busy loop until all clients, who come at once, are connected."""
    with running(kind) as (port, server, loop), contextlib.ExitStack() as clients:
        turns, stop = 0, threading.Event()

        def turn():
            nonlocal turns
            turns += 1
            time.sleep(BUSY_S)
            if not stop.is_set():
                loop.call_soon(turn)

        loop.call_soon_threadsafe(turn)
        began = turns
        for _ in range(CLIENTS):
            clients.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        while len(server.server_state.connections) < CLIENTS:
            time.sleep(BUSY_S / 4)
        taken = turns - began
        stop.set()
        for_all = socket.create_connection(("127.0.0.1", port), timeout=10)
        clients.enter_context(for_all)
        for_all.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert for_all.recv(100).startswith(b"HTTP/1.1 204")
    return taken


def test_a_busy_loop_takes_many_connections_a_turn():
    assert turns_to_accept(Listener) < 4 * CLIENTS / ACCEPTS
    assert turns_to_accept(uvicorn.Server) >= CLIENTS - 5, "uvicorn alone takes as many now: this can go"


def test_it_ends_and_frees_its_port():
    with running(Listener) as (port, _, _):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    socket.create_server(("127.0.0.1", port)).close()
