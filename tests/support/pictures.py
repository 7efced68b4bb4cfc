"""A network of small grey images, served, and images to ask it about."""

import io
import uuid
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from served import build_artifact
from torch import nn

from primum.data.preprocessing import Preprocessing

SIDE = 12


def picture_model() -> nn.Module:
    """(N, 1, 12, 12) to one logit that differs from image to image."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 1)).eval()


def picture_artifact(folder: Path, **changes: object) -> Path:
    """It resizes and normalises."""
    how = Preprocessing(size=(SIDE, SIDE), mean=(0.5,), std=(0.2,))
    return build_artifact(folder, picture_model(), (1, SIDE, SIDE), preprocessing=how, **changes)


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def form(*files: bytes, name: str = "scan.png") -> tuple[bytes, dict[str, str]]:
    """A body of multipart/form-data, and its header."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'.encode()
    body = b"".join(head + file + b"\r\n" for file in files) + f"--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}
