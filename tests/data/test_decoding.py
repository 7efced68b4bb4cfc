"""Files that name somebody in every place that can be odd: what a library says of them is heard nowhere."""

import io
import logging
import threading
import warnings

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from primum.data.decoding import decode_image
from primum.data.quiet import quiet
from primum.errors import InputError

pydicom = pytest.importorskip("pydicom")
from dicoms import dicom  # noqa: E402

NAME = b"Zebedee^Quil"
PIXELS = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
ELEMENTS = {"WindowCenter": "1234567890", "WindowWidth": "1987654321", "RescaleSlope": "1.50000000"}
BASE = dicom(PIXELS, **ELEMENTS)


def dicoms():
    """The file with a name in place of a value, or as a value of another representation."""
    places = [b"1.2.840.10008.1.2.1\0", b"MONOCHROME2 ", b"1234567890", b"1987654321", b"1.50000000"]
    for place in places:
        assert place in BASE
        yield BASE.replace(place, (NAME * 2)[: len(place)])
        yield BASE.replace(place, (b"\xff\xfe" + NAME * 2)[: len(place)])
        yield BASE.replace(place, (b"1.2." + NAME * 2)[: len(place)])
        yield BASE.replace(place, (b"1\\" + NAME * 2)[: len(place)])
    # Group 0028, element 0010 and others, of any representation; and the whole header cut or shifted anywhere.
    for element in (b"\x28\x00\x10\x00US", b"\x28\x00\x00\x01US", b"\x02\x00\x10\x00UI", b"\x08\x00\x16\x00UI"):
        for kind in (b"PN", b"DS", b"IS", b"UI", b"DA", b"TM", b"AT", b"FD", b"SQ", b"UN", b"OB", b"CS", b"Ze"):
            yield BASE.replace(element, element[:4] + kind)
    for at in range(132, len(BASE) - PIXELS.size, 7):
        yield BASE[:at] + NAME + BASE[at:]
        yield BASE[:at] + NAME + BASE[at + len(NAME) :]
        yield BASE[:at]


def others():
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270], tags[33550] = NAME.decode(), (1.0, 2.0, 3.0)
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, "TIFF", tiffinfo=tags)
    tiff = out.getvalue()
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = NAME.decode(), 6
    Image.fromarray(PIXELS).save(out, "JPEG", exif=exif)
    for data in (tiff, out.getvalue()):
        for at in range(0, min(len(data), 400), 3):
            yield data[:at] + NAME + data[at + len(NAME) :]


@pytest.fixture
def heard(caplog):
    """Everything that was logged or warned of, as text."""
    caplog.set_level(logging.DEBUG)
    for name in ("pydicom", "PIL"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield lambda: caplog.text + "".join(str(one.message) for one in warned)


@pytest.fixture(params=[dicoms, others])
def files(request):
    return list(request.param())


def test_nothing_that_a_library_says_of_a_file_is_heard(files, heard):
    refused = 0
    for data in files:
        try:
            decode_image(data, "image 1")
        except InputError as error:
            assert not any(part in str(error) for part in ("Zebe", "Quil")), error
            refused += 1
    assert refused > 10
    assert heard() == ""


def test_libraries_are_heard_again_afterwards(heard):
    level = logging.getLogger("pydicom").level
    with quiet():
        warn()
    assert heard() == "" and logging.getLogger("pydicom").level == level
    warn()
    assert heard().count("Zebedee") == 2


def test_one_who_is_done_leaves_the_others_quiet(heard):
    """Filters of warnings are the process's: threads that decode at the same time share them."""
    begun, go_on = threading.Event(), threading.Event()

    def other():
        with quiet():
            begun.set()
            go_on.wait(10)
            warn()

    with quiet():
        thread = threading.Thread(target=other)
        thread.start()
        assert begun.wait(10)
    go_on.set()
    thread.join()
    assert heard() == ""
    warn()
    assert heard().count("Zebedee") == 2


def warn():
    pydicom.misc.warn_and_log("Invalid value for VR UI: 'Zebedee'")
