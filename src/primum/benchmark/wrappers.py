"""The inference approaches that primum brings: PyTorch, and ONNX Runtime in FP32, FP16 and INT8."""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from primum.artifact.predictor import Session
from primum.benchmark.base import BaseInferenceWrapper
from primum.data.preprocessing import Color, Preprocessing
from primum.errors import InputError, MissingExtra, TrialError
from primum.models.onnx_file import check_onnx
from primum.models.probe import probe
from primum.models.reference import ModelReference, parse_model
from primum.models.signature import Activation, Signature, infer_signature
from primum.models.torch_module import build
from primum.runtimes.base import BuildSource, Target, get_runtime
from primum.runtimes.export import export_onnx

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float32]
RawImage = Image.Image | NDArray[Any]
_ONE_GRAPH = "feature_extraction is the whole network, one graph; classification is activation and threshold only"
_EXPORT_TOLERANCE = 1e-3


class _GraphWrapper(BaseInferenceWrapper):
    """A network run by one of primum's runtimes; `preprocess` gives float32 (1, C, H, W), `extract_features` the raw
    outputs (1, outputs).

    `checkpoint_path` is "module:factory@weights", "module:factory", a live torch module or (not for PyTorch) FILE.onnx.
    `preprocessing` is a Preprocessing or its YAML file; None assumes images scaled to 0..1 in the channels of the first
    convolution and the size of `input_shape` (C, H, W) or else of the first image, and says so in `notes`.
    The second of `classes` is the positive one and the network's second output; it is answered where its probability
    reaches `threshold`. `activation` None is inferred from outputs. Closing removes the files that were built.
    """

    _runtime, _precision, _name = "onnxruntime", "fp32", "ONNX_FP32"

    def __init__(
        self,
        checkpoint_path: str | Path | torch.nn.Module | ModelReference,
        *,
        name: str | None = None,
        preprocessing: Preprocessing | str | Path | None = None,
        classes: Sequence[str] = ("negative", "positive"),
        threshold: float = 0.5,
        input_shape: tuple[int, int, int] | None = None,
        activation: Activation | str | None = None,
        threads: int | None = None,
    ) -> None:
        super().__init__(name or self._name, checkpoint_path, classes)
        self._reference = parse_model(checkpoint_path)
        if isinstance(preprocessing, str | Path):
            preprocessing = Preprocessing.from_file(Path(preprocessing))
        if not 0 <= threshold <= 1:
            raise InputError(f"threshold is a probability between 0 and 1, got {threshold}")
        self._given, self.preprocessing, self._shape = preprocessing, preprocessing, input_shape
        self.threshold = threshold
        self._activation = None if activation is None else Activation(activation)
        self._target = Target(runtime=self._runtime, precision=self._precision, threads=threads)
        self.signature: Signature | None = None
        self._module: torch.nn.Module | None = None
        self._session: Session | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def _load_model(self) -> None:
        """Build the torch module, or check the .onnx file."""
        expected: tuple[int | None, ...] = self._shape or (None, None, None)
        notes = [_ONE_GRAPH]
        if self._reference.onnx is not None:
            expected = self._shape or check_onnx(self._reference.onnx).input_shape[1:]
        else:
            built = build(self._reference)
            self._module = built.module
            notes += built.notes
            expected = self._shape or (_channels(built.module), None, None)
        self._expected, self.notes = expected, tuple(notes)

    def prepare(self, image: RawImage) -> None:
        """Load the model, settle the preprocessing and build the runtime's graph; `image` stands for those to come."""
        super().prepare(image)
        if self._session is None:
            if self._given is None:
                self.preprocessing = _assume(self._expected, image)
                size = f"{self.preprocessing.size[0]}x{self.preprocessing.size[1]}" if self.preprocessing.size else ""
                self.notes += (f"no preprocessing given: assumed {self.preprocessing.color}, {size}, scaled to 0..1",)
            assert self.preprocessing is not None
            self._open(self.preprocessing(image)[None])

    def preprocess(self, image: RawImage) -> Floats:
        """One image (PIL, or uint8 or uint16 (H, W) or (H, W, 3)) to float32 (1, C, H, W)."""
        if self._session is None:
            self.prepare(image)
        assert self.preprocessing is not None and self.signature is not None
        array = self.preprocessing(image)
        if array.shape != self.signature.input_shape:
            raise InputError(
                f"an image is {array.shape} after preprocessing, the network was built for "
                f"{self.signature.input_shape}; set size: [height, width] in the preprocessing"
            )
        return array[None]

    def extract_features(self, preprocessed: Floats) -> Floats:
        """float32 (1, C, H, W) to the network's raw outputs (1, outputs)."""
        if self._session is None:
            raise InputError(
                f"{self.name}: preprocess an image first; it settles the shape that the graph is built for"
            )
        return self._session.run(preprocessed)

    def classify(self, features: Floats) -> tuple[str, float]:
        """Raw outputs (1, outputs) to (class, its probability); an output that is NaN gives the confidence NaN."""
        assert self.signature is not None
        positive = float(self.signature.positive_probability(features)[0])
        return (self.classes[1], positive) if positive >= self.threshold else (self.classes[0], 1.0 - positive)

    def close(self) -> None:
        """Release the graph and remove the files that were built; it is built again when used again."""
        if self._session is not None:
            self._session.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._session, self._folder, self._module, self._loaded, self.load_ms = None, None, None, False, None

    def _calibration(self, batch: Floats) -> Floats:
        """Inputs that set quantization ranges, float32 (N, C, H, W)."""
        return batch

    def _graph(self, folder: Path, shape: tuple[int, ...]) -> tuple[Path | None, tuple[str, ...]]:
        """The lossless .onnx to build from (None: build from the module), and notes."""
        if self._reference.onnx is not None:
            return self._reference.onnx, ()
        assert self._module is not None
        path = folder / "export.onnx"
        return path, export_onnx(self._module, shape, path)

    def _open(self, batch: Floats) -> None:
        runtime = get_runtime(self._runtime)
        if runtime.missing():
            raise MissingExtra(f"building for {runtime.name}", "optimize")
        self._folder = tempfile.TemporaryDirectory(prefix="primum-")
        root = Path(self._folder.name)
        (root / "model").mkdir()
        shape = batch.shape[1:]
        onnx, notes = self._graph(root, shape)
        own = _raw(self._module, onnx, batch)
        probed = probe(functools.partial(_raw, self._module, onnx), batch)
        signature = infer_signature(own[:1], shape, self.classes, None, self._activation, probed.outputs)
        notes += probed.notes
        if self._activation is None:
            notes += (f"activation inferred from outputs: {signature.activation}",)
        source = BuildSource(signature, self._module, onnx, self._calibration(batch))
        notes += runtime.build(source, self._target, root / "model")
        began = time.perf_counter()
        session = runtime.open(root / "model", self._target, self._factory)
        self.load_ms = (time.perf_counter() - began) * 1e3
        notes += self._compare(session.run(batch), own[:1])
        self.signature, self._session = signature, session
        proven = session.proven
        self.threads, self.precision, self.provider = proven.threads, proven.precision, proven.provider
        self.notes += notes + proven.notes

    def _factory(self) -> torch.nn.Module:
        assert self._module is not None
        return self._module

    def _compare(self, raw: Floats, original: Floats) -> tuple[str, ...]:
        difference = float(np.abs(raw - original).max())
        if self._precision == "fp32" and not difference <= _EXPORT_TOLERANCE * max(1.0, float(np.abs(original).max())):
            raise TrialError(
                f"{self.name}: its raw output differs from the model's by {difference:.3g}: not the same network"
            )
        return (f"raw output of one image differs from the original's by {difference:.3g}",)


class PyTorchInferenceWrapper(_GraphWrapper):
    """PyTorch eager in FP32 on the CPU: the baseline. Options: see `_GraphWrapper`."""

    _runtime, _name = "torch", "PyTorch_FP32"

    def _load_model(self) -> None:
        if self._reference.onnx is not None:
            raise InputError("an .onnx file cannot run in PyTorch; use ONNXInferenceWrapper")
        super()._load_model()

    def _graph(self, folder: Path, shape: tuple[int, ...]) -> tuple[Path | None, tuple[str, ...]]:
        return None, ()

    def extract_features(self, preprocessed: Floats) -> Floats:
        """As for every wrapper; on a copy, for a module may change its input in place."""
        return super().extract_features(preprocessed.copy())

    def prepare(self, image: RawImage) -> None:
        """As for every wrapper; sets torch's number of threads, which is one for the whole process."""
        super().prepare(image)
        import torch

        if self.threads and torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)


class ONNXInferenceWrapper(_GraphWrapper):
    """ONNX Runtime in FP32 on the CPU. A torch reference is exported first: to `onnx_path` where given (an export that
    already lies there is used, once it agrees with the model), else to a temporary file."""

    def __init__(self, checkpoint_path: Any, *, onnx_path: str | Path | None = None, **options: Any) -> None:
        super().__init__(checkpoint_path, **options)
        self._onnx_path = Path(onnx_path) if onnx_path is not None else None

    def _graph(self, folder: Path, shape: tuple[int, ...]) -> tuple[Path | None, tuple[str, ...]]:
        if self._onnx_path is None or self._reference.onnx is not None:
            return super()._graph(folder, shape)
        if self._onnx_path.exists():
            check_onnx(self._onnx_path)
            return self._onnx_path, ("an export that was already there was used",)
        assert self._module is not None
        return self._onnx_path, export_onnx(self._module, shape, self._onnx_path)


class ONNXFP16InferenceWrapper(_GraphWrapper):
    """ONNX Runtime with weights stored in FP16. The CPU still computes in FP32: the file halves, the speed stays."""

    _precision, _name = "fp16", "ONNX_FP16"


class INT8InferenceWrapper(_GraphWrapper):
    """ONNX Runtime in INT8: static where `calibration_images` are given, dynamic otherwise; the name says which."""

    _precision, _name = "int8-dynamic", "ONNX_INT8_dynamic"

    def __init__(
        self, checkpoint_path: Any, *, calibration_images: Sequence[RawImage] | None = None, **options: Any
    ) -> None:
        if calibration_images is not None:
            if not len(calibration_images):
                raise InputError("calibration_images is empty; leave it out for dynamic INT8")
            self._precision, self._name = "int8", "ONNX_INT8_static"
        self._images = calibration_images
        super().__init__(checkpoint_path, **options)

    def _calibration(self, batch: Floats) -> Floats:
        if self._images is None:
            return batch
        assert self.preprocessing is not None
        return np.stack([self.preprocessing(image) for image in self._images])


def _channels(module: torch.nn.Module) -> int | None:
    import torch

    convolutions = (m for m in module.modules() if isinstance(m, torch.nn.Conv2d))
    return next((int(m.in_channels) for m in convolutions), None)


def _assume(expected: tuple[int | None, ...], image: RawImage) -> Preprocessing:
    if len(expected) != 3 or expected[0] not in (1, 3):
        raise InputError("which images the network takes cannot be told from it: give preprocessing=")
    height, width = image.shape[:2] if isinstance(image, np.ndarray) else (image.height, image.width)
    size = (expected[1] or height, expected[2] or width)
    return Preprocessing(color=Color.GREY if expected[0] == 1 else Color.RGB, size=size)


def _raw(module: torch.nn.Module | None, onnx: Path | None, inputs: Floats) -> Floats:
    """The original's raw outputs (N, outputs), one input at a time. InputError where it cannot take them."""
    # Copies: a module may change its input in place, and the graph built from it is asked on the same inputs.
    rows = [inputs[i : i + 1].copy() for i in range(len(inputs))]
    try:
        if module is None:
            import onnxruntime as ort

            session = ort.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
            name = session.get_inputs()[0].name
            outputs: list[Floats] = [session.run(None, {name: row})[0] for row in rows]
        else:
            import torch

            with torch.inference_mode():
                outputs = [module(torch.from_numpy(row)).float().numpy() for row in rows]
        return np.concatenate([np.asarray(out, np.float32).reshape(1, -1) for out in outputs])
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"the model does not take inputs of shape {inputs.shape[1:]}: {first}") from error
