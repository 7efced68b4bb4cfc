"""A page in a real browser, steered over its debugging protocol."""

import asyncio
import json
import shutil
import subprocess
import time
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
_PATIENCE_S = 60


def steered(address: str, profile: Path, scripts: list[str]) -> list[object]:
    """What each script comes to, one after another, on the page of `address`. A script is an expression, evaluated
    again and again until it is true.
    """
    command = [BROWSER, *QUIET, f"--user-data-dir={profile}", "--remote-debugging-port=0", address]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = _port(profile / "DevToolsActivePort")
        return asyncio.run(_evaluate(port, address, scripts))
    finally:
        process.terminate()
        process.wait()


def _port(file: Path) -> int:
    until = time.monotonic() + _PATIENCE_S
    while not (file.exists() and file.read_text().count("\n")):
        assert time.monotonic() < until, "the browser did not start"
        time.sleep(0.05)
    return int(file.read_text().splitlines()[0])


async def _evaluate(port: int, address: str, scripts: list[str]) -> list[object]:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/json") as told:
            page = next(one for one in await told.json(content_type=None) if one["url"].startswith(address))
        async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            return [await asyncio.wait_for(_until_true(socket, script), _PATIENCE_S) for script in scripts]


async def _until_true(socket: aiohttp.ClientWebSocketResponse, script: str) -> object:
    for number in count(1):
        asked = {"expression": script, "returnByValue": True}
        await socket.send_str(json.dumps({"id": number, "method": "Runtime.evaluate", "params": asked}))
        # While the page loads there is nothing to evaluate in.
        result = (await _answer(socket, number)).get("result", {})
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        if value := result.get("result", {}).get("value"):
            return value
        await asyncio.sleep(0.05)
    raise AssertionError


async def _answer(socket: aiohttp.ClientWebSocketResponse, number: int) -> dict[str, Any]:
    async for message in socket:
        answer = json.loads(message.data)
        if answer.get("id") == number:
            return dict(answer)
    raise AssertionError("the browser went away")
