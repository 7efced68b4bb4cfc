"""Images as clients have them: files in a form, or one as the whole body."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.artifact.manifest import Manifest
from primum.data.decoding import DICOM, decode_image
from primum.data.preprocessing import Preprocessing
from primum.errors import InputError, MissingExtra, PrimumError, RequestExpired, UnsupportedFormat
from primum.serving.dataplane import DataPlane, Unavailable
from primum.serving.http.forms import files_of
from primum.serving.http.responses import HttpError
from primum.serving.http.routing import Call, Route, schedule_of
from primum.serving.model import INPUT
from primum.serving.predictions import predictions
from primum.serving.security.access import Scope

MOST_IMAGES = 64
"""In one request."""
MOST_WAITING = 64
"""Requests whose images are being decoded, or wait for it."""
_AXES = 3
"""Of an image as a network takes it: channels, height, width."""
_KINDS = ("image/", "application/dicom", "application/octet-stream")


class Uploads:
    """Decodes images off the event loop, then asks their model.

    No batch is held for what is being decoded (`DynamicBatcher.expecting`): a decoding takes as long as the window or
    longer, so those who are here already would wait for nothing.
    """

    def __init__(self, plane: DataPlane, threads: int | None = None) -> None:
        """`threads`: that decode; default: one a core, at most 4."""
        self._plane = plane
        self._pool = ThreadPoolExecutor(threads or min(4, os.cpu_count() or 1), "decode")
        self._waiting = 0

    def routes(self) -> tuple[Route, ...]:
        """Its rows of the table."""
        return (
            Route("POST", "/v2/models/*/predict", Scope.INFER, "predict", self._predict),
            Route("POST", "/v2/models/*/versions/*/predict", Scope.INFER, "predict", self._predict),
        )

    async def _predict(self, call: Call) -> Any:
        start = monotonic() if call.came is None else call.came
        model = self._plane.model(*call.names)
        call.note.model = model.name
        priority, timeout_s = schedule_of(call.query)
        manifest = model.rung.manifest
        if not isinstance(manifest.preprocessing, Preprocessing) or len(manifest.signature.input_shape) != _AXES:
            raise InputError(f"model {model.name!r} takes no images: ask for /infer, or /optimization/batch-predict")
        images = await self._images(call)
        call.note.cases = len(images)
        rows, told = await self._decoded(images, manifest)
        allowed = model.allowed_s(timeout_s)
        left = None if allowed is None else allowed - (monotonic() - start)
        if left is not None and left <= 0:
            raise RequestExpired("deadline_passed")
        # Between this and the call nothing else runs: rows of one artifact never go to another.
        if model.rung.manifest.preprocessing != manifest.preprocessing:
            raise Unavailable("the model was replaced while the images were decoded; ask again")
        outputs, rung = await model.infer({INPUT: rows}, priority, left)
        call.note.sha256 = rung.digest
        found = predictions(rung, outputs)
        listed = [{"image": k, **one, **more} for k, (one, more) in enumerate(zip(found, told), 1)]
        said = {"model_name": model.name, "model_version": rung.version, "unproven": rung.unproven}
        return {**said, "predictions": listed}

    async def _images(self, call: Call) -> list[bytes]:
        kind = call.content_type.partition(";")[0].strip().lower()
        form = kind == "multipart/form-data"
        if not form and not kind.startswith(_KINDS):
            raise HttpError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "send multipart/form-data, or one image as image/png, image/jpeg or application/dicom",
            )
        body = await call.read()
        images = [body]
        if form:
            loop = asyncio.get_running_loop()
            images = await loop.run_in_executor(self._pool, files_of, body, call.content_type, MOST_IMAGES)
        if not images:
            raise InputError("the form holds no image")
        return images

    async def _decoded(
        self, images: list[bytes], manifest: Manifest
    ) -> tuple[NDArray[np.float32], list[dict[str, Any]]]:
        """The network's input (N, *input_shape), and what is told of each image beside its answer."""
        if self._waiting >= MOST_WAITING:
            raise Unavailable("too many images are being decoded; ask again later")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            futures = [
                loop.run_in_executor(self._pool, prepared, data, manifest, number)
                for number, data in enumerate(images, 1)
            ]
            try:
                made = await asyncio.gather(*futures)
            finally:
                for future in futures:
                    future.cancel()
        finally:
            self._waiting -= 1
        return np.stack([row for row, _ in made]), [told for _, told in made]


def prepared(data: bytes, manifest: Manifest, number: int) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """An encoded image as the network's input float32 (*input_shape), and what is told of it: `voi` of a DICOM image.

    Raises InputError naming it by its number, HttpError where its format is not read.
    """
    name = f"image {number}"
    try:
        image: Any = decode_image(data, name)
        row = manifest.preprocessing(image)
    except (MissingExtra, UnsupportedFormat) as error:
        raise HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, _about(name, error)) from error
    except InputError as error:
        raise InputError(_about(name, error)) from error
    shape = manifest.signature.input_shape
    if row.shape != shape:
        raise InputError(f"{name} is {list(row.shape)} after preprocessing, the model takes {list(shape)}")
    voi = image.info.get("voi") if image.format == DICOM else None
    return row, {} if voi is None else {"voi": voi}


def _about(name: str, error: PrimumError) -> str:
    said = str(error)
    return said if said.startswith(name) else f"{name}: {said}"
