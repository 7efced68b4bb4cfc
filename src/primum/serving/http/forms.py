"""Files of a multipart/form-data body (RFC 7578), parsed by python-multipart. Their names are never looked at."""

from __future__ import annotations

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from primum.errors import InputError


def files_of(body: bytes, content_type: str, most: int) -> list[bytes]:
    """The content of each part, in order. Raises InputError where the body is no form, or has more than `most`."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise InputError("the content type multipart/form-data names no boundary")
    parts: list[list[bytes]] = []
    ended = False

    def begin() -> None:
        if len(parts) == most:
            raise InputError(f"the form holds more than {most} images")
        parts.append([])

    def data(chunk: bytes, start: int, end: int) -> None:
        parts[-1].append(chunk[start:end])

    def finish() -> None:
        nonlocal ended
        ended = True

    try:
        parser = MultipartParser(boundary, {"on_part_begin": begin, "on_part_data": data, "on_end": finish})
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise InputError("the body is not multipart/form-data as its content type says") from error
    if not ended:
        raise InputError("the form is cut short")
    return [b"".join(part) for part in parts]
