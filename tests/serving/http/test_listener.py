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

CLIENTS = 64


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
        end = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < end
            time.sleep(0.01)
        yield port, server, loops[0]
    finally:
        server.should_exit = True
        thread.join()


def turns_to_accept(kind):
    """Turns of a loop until all clients, who came while it was busy, are connected."""
    with running(kind) as (port, server, loop), contextlib.ExitStack() as clients:
        came, done = threading.Event(), threading.Event()
        turns = 0

        def turn():
            nonlocal turns
            if len(server.server_state.connections) == CLIENTS:
                done.set()
                return
            turns += 1
            time.sleep(0.001)
            loop.call_soon(turn)

        def busy():
            came.wait(30)
            turn()

        loop.call_soon_threadsafe(busy)
        for _ in range(CLIENTS):
            clients.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        came.set()
        assert done.wait(30)
        last = clients.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        last.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert last.recv(100).startswith(b"HTTP/1.1 204")
    return turns


def test_a_busy_loop_takes_many_connections_a_turn():
    assert turns_to_accept(Listener) < 2 * CLIENTS / ACCEPTS
    assert turns_to_accept(uvicorn.Server) >= CLIENTS - 5, "uvicorn alone takes as many now: this can go"


def test_it_ends_and_frees_its_port():
    with running(Listener) as (port, _, _):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    socket.create_server(("127.0.0.1", port)).close()
