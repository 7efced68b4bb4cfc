"""Images sent as they are: answered as the artifact's own predictor does, refused by number, never by file name."""

import io
import json
import struct
import threading
import zlib

import numpy as np
import pytest
from dicoms import dicom
from pictures import SIDE, encoded, form, picture_artifact
from PIL import Image
from served import call, server

import primum
from primum.serving.security.audit import verify_audit

PREDICT = "/v2/models/chest/predict"
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 40, 30)).astype(np.uint8)
DEEP = np.random.default_rng(1).integers(0, 4096, (40, 30)).astype(np.uint16)
XRAY = dicom(DEEP, bits=12, WindowCenter=2000, WindowWidth=3000, PhotometricInterpretation="MONOCHROME1")
SECRET = "Quillfeather_1963.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return picture_artifact(tmp_path_factory.mktemp("pictures") / "artifact")


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("log") / "audit.jsonl"


@pytest.fixture(scope="module")
def port(folder, artifact, log):
    with server(f"chest={folder}", f"risk={artifact}", "--audit", log) as port:
        yield port


@pytest.fixture(scope="module")
def expected(folder):
    """By the artifact's own predictor."""
    with primum.load(folder) as predictor:

        def answer(*files):
            return predictor.predict([str(file) for file in files])

        yield answer


def test_files_of_a_form_are_answered_one_by_one_in_order(port, expected, tmp_path):
    files = [encoded(PIXELS[0]), encoded(PIXELS[1], "JPEG"), XRAY, encoded(PIXELS[2], "TIFF")]
    for number, data in enumerate(files):
        (tmp_path / str(number)).write_bytes(data)
    wanted = expected(*(tmp_path / str(k) for k in range(4)))
    body, headers = form(*files)
    status, _, answer = call(port, "POST", f"{PREDICT}?priority=1&timeout_ms=20000", body, headers)
    assert status == 200 and answer["model_name"] == "chest" and len(answer["model_version"]) == 12
    found = answer["predictions"]
    assert [one["image"] for one in found] == [1, 2, 3, 4] and "voi" not in found[0] and found[2]["voi"] == "window"
    for one, row in zip(found, wanted):
        np.testing.assert_allclose([one["probabilities"][name] for name in ("low", "high")], row, atol=1e-6)
        assert one["decision"] == ("high" if row[1] >= 0.5 else "low") and one["deferred"] is False
    assert len({one["probabilities"]["high"] for one in found}) == 4, "the network tells them apart"


@pytest.mark.parametrize(
    ("data", "kind"),
    [(encoded(PIXELS[3]), "image/png"), (encoded(PIXELS[3], "JPEG"), "image/jpeg"), (XRAY, "application/dicom")],
)
def test_one_image_as_the_body(port, expected, tmp_path, data, kind):
    (tmp_path / "one").write_bytes(data)
    version = call(port, "GET", "/v2/models/chest")[2]["versions"][0]
    for path in (PREDICT, f"/v2/models/chest/versions/{version}/predict"):
        status, _, answer = call(port, "POST", path, data, {"Content-Type": kind})
        assert status == 200
        assert answer["predictions"][0]["probabilities"]["high"] == pytest.approx(
            expected(tmp_path / "one")[0, 1], abs=1e-6
        )


def bomb(width, height):
    """A PNG that promises more than it holds."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + head
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + encoded(PIXELS[0])[33:]
    )


GOOD = encoded(PIXELS[0])


@pytest.mark.parametrize(
    ("files", "status", "said"),
    [
        ([GOOD, GOOD[:200]], 400, "image 2: "),
        ([GOOD, b"hello"], 400, "image 2: "),
        ([bomb(9000, 9000)], 400, "image 1: the header promises 9000x9000"),
        ([dicom(DEEP, Rows=60000, Columns=60000)], 400, "image 1: the header promises 60000x60000"),
        ([GOOD, GOOD, dicom(DEEP, NumberOfFrames=7)], 400, "image 3: the DICOM file holds 7 frames"),
        (
            [dicom(DEEP, "1.2.840.10008.1.2.4.70", data=b"\xfe\xff\x00\xe0\0\0\0\0")],
            415,
            "image 1: the transfer syntax JPEG L",
        ),
        ([GOOD] * 65, 400, "more than 64 images"),
        ([], 400, "form"),
    ],
)
def test_what_is_wrong_is_told_by_number_never_by_name(port, files, status, said):
    body, headers = form(*files, name=SECRET)
    found, _, answer = call(port, "POST", PREDICT, body, headers)
    assert found == status and said in answer["error"]
    assert "Quill" not in answer["error"] and "Zebedee" not in answer["error"]


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "said"),
    [
        ("/v2/models/risk/predict", *form(GOOD), 400, "takes no images"),
        ("/v2/models/none/predict", *form(GOOD), 404, "there are"),
        (PREDICT, b"{}", {"Content-Type": "application/json"}, 415, "multipart/form-data"),
        (PREDICT, GOOD, {}, 415, "multipart/form-data"),
        (PREDICT, b"--x", {"Content-Type": "multipart/form-data"}, 400, "boundary"),
        (PREDICT, b"--y\r\n", {"Content-Type": "multipart/form-data; boundary=x"}, 400, "not multipart"),
        (PREDICT, form(GOOD)[0][:-60], form(GOOD)[1], 400, "form"),
        (f"{PREDICT}?priority=first", *form(GOOD), 400, "whole number"),
        (f"{PREDICT}?timeout_ms=0", *form(GOOD), 400, "above 0"),
        (f"{PREDICT}?patient=7", *form(GOOD), 400, "no query parameter"),
        (f"{PREDICT}?timeout_ms=0.001", *form(GOOD), 504, "deadline"),
        (PREDICT, b"", {"Content-Length": str(2**40), "Content-Type": "image/png"}, 413, "larger"),
    ],
)
def test_errors_have_the_right_status(port, path, body, headers, status, said):
    found, _, answer = call(port, "POST", path, body, headers)
    assert found == status and said in answer["error"]


def test_a_request_is_taken_down_without_any_payload(port, log):
    body, headers = form(GOOD, XRAY, name=SECRET)
    assert call(port, "POST", PREDICT, body, headers)[0] == 200
    end = threading.Event()
    end.wait(0.5)
    last = json.loads(log.read_text().splitlines()[-1])
    assert (last["what"], last["model"], last["cases"], last["status"]) == ("predict", "chest", 2, 200)
    assert len(last["sha256"]) == 64 and verify_audit(log).records
    assert "Quill" not in log.read_text() and "Zebedee" not in log.read_text()


def test_many_at_a_time_each_get_their_own(port, expected, tmp_path):
    for k, pixels in enumerate(PIXELS):
        (tmp_path / str(k)).write_bytes(encoded(pixels))
    wanted = expected(*(tmp_path / str(k) for k in range(len(PIXELS))))[:, 1]
    found = {}

    def ask(k):
        body, headers = form(encoded(PIXELS[k]))
        found[k] = [
            call(port, "POST", PREDICT, body, headers)[2]["predictions"][0]["probabilities"]["high"] for _ in range(6)
        ]

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(len(PIXELS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for k, value in enumerate(wanted):
        np.testing.assert_allclose(found[k], value, atol=1e-6)


def test_rows_made_for_one_artifact_never_go_to_another(folder, tmp_path):
    """The artifact is replaced by one with another preprocessing while an image is decoded."""
    import asyncio
    import shutil

    from pictures import picture_model
    from served import build_artifact

    from primum.config import BatchConfig
    from primum.data.preprocessing import Preprocessing
    from primum.serving.dataplane import DataPlane, Unavailable
    from primum.serving.http import uploads
    from primum.serving.http.routing import Call
    from primum.serving.model import ServedModel
    from primum.serving.repository import Repository

    mine = shutil.copytree(folder, tmp_path / "mine")
    plain = Preprocessing(size=(SIDE, SIDE))
    other = build_artifact(tmp_path / "other", picture_model(), (1, SIDE, SIDE), preprocessing=plain)

    async def live():
        model = ServedModel("chest", [mine], BatchConfig())
        plane = DataPlane(Repository([model]))
        await plane.start()
        faces = uploads.Uploads(plane)

        async def read():
            shutil.rmtree(mine)
            shutil.copytree(other, mine)
            assert await model.reload()
            return GOOD

        try:
            with pytest.raises(Unavailable, match="replaced"):
                await faces._predict(Call(("chest",), {}, "image/png", read))
        finally:
            await plane.stop()

    asyncio.run(live())


def test_answers_say_whether_the_artifact_is_unproven(port, tmp_path):
    body, headers = form(encoded(PIXELS[0]))
    assert call(port, "POST", PREDICT, body, headers)[2]["unproven"] is False
    doubtful = picture_artifact(tmp_path / "doubtful", verdict="INCONCLUSIVE", unproven=True)
    with server(f"chest={doubtful}") as other:
        assert call(other, "POST", PREDICT, body, headers)[2]["unproven"] is True


def test_a_file_of_several_pages_is_refused(port):
    pages = [Image.fromarray(PIXELS[k]) for k in range(2)]
    out = io.BytesIO()
    pages[0].save(out, "TIFF", save_all=True, append_images=pages[1:])
    status, _, answer = call(port, "POST", PREDICT, out.getvalue(), {"Content-Type": "image/tiff"})
    assert status == 400 and answer["error"] == "image 1: the file holds several images; give one image a file"


def test_what_is_odd_in_a_file_reaches_no_log(folder):
    odd = dicom(DEEP, bits=12, WindowCenter="1234567890", WindowWidth="1987654321")
    places = (b"1.2.840.10008.1.2.1\0", b"1234567890", b"1987654321", b"MONOCHROME2 ")
    with server(f"chest={folder}", "--log-requests", give_process=True) as (port, process):
        for place in places:
            body = odd.replace(place, (b"1.Quillfeather" * 2)[: len(place)])
            status, _, answer = call(port, "POST", PREDICT, body, {"Content-Type": "application/dicom"})
            assert status in (400, 415) and "Quill" not in answer["error"]
        process.terminate()
        written = process.stdout.read()
    assert written.count("/predict") == len(places) and "Quill" not in written
