"""Artifacts that make a ladder, an executor that can be slow, and a served model that lives for one test."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from served import FEATURES, build_artifact, risk_model

from primum.config import BatchConfig
from primum.serving.executor.in_process import InProcess
from primum.serving.ladder.ladder import LadderSettings
from primum.serving.model import INPUT, ServedModel

PROVEN = {"verdict": "NON_INFERIOR", "parent_hash": "p"}
QUICK = replace(LadderSettings(), hold_s=0.2, dwell_s=0.2, calm_s=0.6, settle_s=0.3)
ROUTINE = 0


def rows(count=400, seed=1):
    return np.random.default_rng(seed).normal(0, 1, (count, FEATURES)).astype(np.float32)


def spoiled_model(shift=0.6):
    """The risk model with its last bias moved: it calls more cases high."""
    module = risk_model()
    with torch.no_grad():
        module[-1].bias += shift
    return module


def build_ladder(folder: Path, *modules):
    """Proven artifacts of one original, named 0, 1 …"""
    return [
        build_artifact(folder / str(place), module, units=f"probability {place}", **PROVEN)
        for place, module in enumerate(modules)
    ]


class Slowed(InProcess):
    """Takes `seconds` a row more for artifacts of the folders that are named."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds, self._slow = seconds, {}

    def open(self, network):
        program = super().open(network)
        self._slow[program.key] = self.seconds.get(network.folder, 0.0)
        return program

    def run(self, asked):
        time.sleep(self._slow[asked.program.key] * len(asked))
        return super().run(asked)


def live(ask, folders, *, settings=QUICK, config=None, **options):
    """What the coroutine function `ask` returns of a started model."""

    async def whole():
        model = ServedModel("risk", folders, BatchConfig(**(config or {})), **options)
        model.line.ladder.settings = settings
        await model.start()
        try:
            return await ask(model)
        finally:
            await model.stop()

    return asyncio.run(whole())


async def one_by_one(model, cases):
    return await asyncio.gather(*[model.infer({INPUT: case[None]}, ROUTINE, None) for case in cases])


async def until(holds, seconds=15.0):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        await asyncio.sleep(0.02)
