import io
import pickle
import sys
import zipfile

import pytest
import torch
from torch import nn

from primum.errors import InputError, UnsafeInput
from primum.models.checkpoint import load_state_dict
from primum.models.digest import digest
from primum.models.reference import ModelReference, parse_model
from primum.models.torch_module import build
from primum.models.torchscript import constants, input_channels, is_torchscript, load_torchscript


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU())
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


class Two(nn.Module):
    def forward(self, x: torch.Tensor, age: torch.Tensor) -> torch.Tensor:
        return x + age


class Spare(nn.Module):
    def forward(self, x: torch.Tensor, scale: float = 2.0) -> torch.Tensor:
        return x * scale


class Pair(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


class Silent(nn.Module):
    @torch.jit.export
    def embed(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Instant(nn.Module):
    """Batch norm without statistics: it has no other way to work."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3, track_running_stats=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)


X = torch.zeros(2, 3, 8, 8)


def traced(net):
    return torch.jit.trace(net, X, check_trace=False)


FORMS = {
    "traced": lambda net: traced(net.eval()),
    "scripted": lambda net: torch.jit.script(net.eval()),
    "scripted in training": lambda net: torch.jit.script(net.train()),
    "frozen": lambda net: torch.jit.freeze(traced(net.eval())),
}


@pytest.fixture
def file(tmp_path):
    def save(module, name="model.ts"):
        torch.jit.save(module, str(tmp_path / name))
        return tmp_path / name

    return save


@pytest.fixture
def rewritten(tmp_path, file):
    """A file whose code has `old` replaced by `new`, with further entries: what a hostile hand can do."""

    def rewrite(old, new, entries=(), comment=b"", path=None):
        source, target = zipfile.ZipFile(path or file(torch.jit.script(Spare()))), tmp_path / "rewritten.ts"
        with zipfile.ZipFile(target, "w") as out:
            for entry in source.infolist():
                if entry.filename.endswith(".debug_pkl"):
                    continue
                data = source.read(entry)
                if entry.filename.endswith(".py"):
                    assert old.encode() in data
                    data = data.replace(old.encode(), new.encode())
                out.writestr(entry.filename, data)
            for name, data in entries:
                out.writestr(name, data)
            out.comment = comment
        return target

    return rewrite


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["model.ts", "model.torchscript", "model.pt", "model.pth", "model"])
def test_every_form_under_every_name_is_read_and_answers_alike(file, form, name):
    torch.manual_seed(0)
    net = Net()
    path = file(FORMS[form](net), name)
    reference = parse_model(path)
    assert reference == ModelReference(torchscript=path) and str(reference) == name
    assert reference.fixed is not None and "Python module" in reference.fixed
    x = torch.rand(3, 3, 9, 9)
    with torch.inference_mode():
        torch.testing.assert_close(build(reference).module(x), net.eval()(x))


@pytest.mark.parametrize("form", FORMS)
def test_what_a_module_holds_is_told_even_when_it_is_frozen(file, form):
    module = load_torchscript(file(FORMS[form](Net())))
    assert input_channels(module) == 3
    weights = [p.numel() for p in module.parameters()] + [t.numel() for t in constants(module) if t.ndim]
    assert sum(weights) >= 3 * 4 * 9 + 2 * 4


def test_the_digest_follows_the_content(file):
    torch.manual_seed(0)
    net = Net().eval()
    path = file(traced(net), "a.ts")
    one = digest(parse_model(path))
    assert digest(parse_model(path.rename(path.with_name("c.pt")))) == one, "the name of the file is not part of it"
    with torch.no_grad():
        net.head.bias[0] += 1
    assert digest(parse_model(file(traced(net), "b.ts"))) != one


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (torch.jit.script(Two()), "takes x: Tensor, age: Tensor; a model takes one tensor"),
        (torch.jit.script(Pair()), r"gives Tuple\[Tensor, Tensor\]"),
        (torch.jit.script(Silent()), "has no forward"),
        (traced(Net().train()), "always works as in training"),
    ],
    ids=["two inputs", "a pair", "no forward", "traced in training"],
)
def test_a_module_that_is_no_model_is_refused_with_what_it_takes_and_gives(file, module, message):
    with pytest.raises(InputError, match=message):
        load_torchscript(file(module))


def test_what_has_defaults_is_no_second_input_and_batch_norm_may_have_no_statistics(file):
    load_torchscript(file(torch.jit.script(Spare())))
    load_torchscript(file(traced(Instant().eval())))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("name", ["model.ts", "model.pt"])
def test_a_truncated_file_is_no_model(file, share, name):
    path = file(traced(Net().eval()), name)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match="not a TorchScript file|no TorchScript file"):
        parse_model(path)


def test_a_damaged_one_says_so(file):
    path = file(traced(Net().eval()))
    content = bytearray(path.read_bytes())
    at = content.index(b"data.pkl") + 60
    content[at : at + 40] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a TorchScript file that can be read"):
        build(parse_model(path))


class _Evil:
    def __reduce__(self):
        return sys.exit, ("the pickle ran",)


@pytest.mark.parametrize("name", ["model.pt", "model.ts"])
def test_a_pickle_is_refused_as_a_model_and_never_opened(tmp_path, name):
    for content in (pickle.dumps(_Evil()), _zipped(_Evil())):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="o TorchScript file|not a TorchScript file"):
            parse_model(tmp_path / name)


def _zipped(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def test_pt2_stays_refused_whatever_it_holds(file):
    path = file(traced(Net().eval()), "model.pt2")
    assert is_torchscript(path)
    with pytest.raises(UnsafeInput, match="refused"):
        parse_model(path)


def test_a_missing_file_and_weights_beside_it_are_said(file, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        parse_model(tmp_path / "none.ts")
    with pytest.raises(InputError, match="holds its weights: leave out --checkpoint"):
        parse_model(file(traced(Net().eval())), "weights.pt")


HIDDEN = {
    "plain": "torch.save(x, {0})",
    "spaced": "torch . save(x, {0})",
    "as a string": 'getattr(torch, "save")(x, {0})',
    "in octal": 'getattr(torch, "s\\141ve")(x, {0})',
    "in parts": 'getattr(torch, "sa" "ve")(x, {0})',
    "in single quotes": "getattr(torch, 'sa' \"ve\")(x, {0})",
}


@pytest.mark.parametrize("how", HIDDEN)
def test_code_that_writes_files_is_refused_however_it_is_spelt(rewritten, tmp_path, how):
    """torch runs all of these: the operator writes a tensor to any path."""
    written = tmp_path / "written"
    path = rewritten(
        "    return", f"    {HIDDEN[how].format(repr(str(written)).replace(chr(39), chr(34)))}\n    return"
    )
    try:
        torch.jit.load(str(path))(torch.zeros(1))
        worked = written.exists()
    except RuntimeError:
        worked = False
    assert worked or how in ("in parts", "in single quotes"), "no attack, no test"
    written.unlink(missing_ok=True)
    with pytest.raises(UnsafeInput, match="reads or writes files"):
        load_torchscript(path)
    assert not written.exists()


def test_code_that_maps_files_is_refused(file, tmp_path):
    class Maps(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.from_file("somewhere", True, 10)

    with pytest.raises(UnsafeInput, match="'from_file'"):
        load_torchscript(file(torch.jit.script(Maps())))


def test_code_that_would_run_while_loading_is_refused_before(rewritten, tmp_path):
    """A module's __setstate__ runs when torch opens the file."""
    written = tmp_path / "written"

    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.training = False

        @torch.jit.export
        def __getstate__(self) -> tuple[torch.Tensor, bool]:
            return torch.zeros(3), self.training

        @torch.jit.export
        def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
            torch.save(state[0], "WHERE")
            self.training = state[1]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(Packed()), buffer)
    buffer.seek(0)
    path = rewritten("WHERE", str(written), path=buffer)
    torch.jit.load(str(path))
    assert written.exists(), "no attack, no test"
    written.unlink()
    with pytest.raises(UnsafeInput):
        load_torchscript(path)
    assert not written.exists()


def test_archives_that_readers_may_see_differently_or_that_swell_are_refused(rewritten):
    with pytest.raises(UnsafeInput, match="comment"):
        load_torchscript(rewritten("return", "return", comment=b"PK"))
    twice = rewritten("return", "return", entries=[("rewritten/code/more.py", "torch.save(x)")])
    with pytest.raises(UnsafeInput, match="files"):
        load_torchscript(twice)
    with zipfile.ZipFile(twice, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/bomb", bytes(90_000_000))
    with pytest.raises(UnsafeInput, match="far more than its own size"):
        load_torchscript(twice)


def test_its_weights_fit_the_python_module_they_came_from(file, monkeypatch):
    import types

    torch.manual_seed(0)
    net = Net().eval()
    made = types.ModuleType("fixture_scripted_factory")
    made.build = Net
    monkeypatch.setitem(sys.modules, made.__name__, made)
    reference = parse_model(f"{made.__name__}:build", file(traced(net)))
    x = torch.rand(2, 3, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(build(reference).module(x), net(x))
    with pytest.raises(InputError, match="frozen"):
        load_state_dict(file(torch.jit.freeze(traced(net)), "frozen.pt"))
