"""A body of multipart/related, part by part as it comes (RFC 2387; PS3.18, 8.6.1.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

RELATED: Final = "multipart/related"
DICOM: Final = "application/dicom"


class BodyError(Exception):
    """A body that can't be read.

    Attributes:
        status: of HTTP.
        message: for the client.
    """

    def __init__(self, status: int, message: str) -> None:
        """Keep both."""
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(frozen=True)
class Part:
    """A whole part of a body.

    Attributes:
        content_type: in lower case, without parameters; empty where it says none.
        content: of the part; None where it is larger than a part may be.
    """

    content_type: str
    content: bytes | None


class Parts:
    """The parts of one body; no more than one of them is held, and no more of it than allowed."""

    def __init__(self, content_type: str, most_bytes: int) -> None:
        """Prepare to read.

        Args:
            content_type: header of the request.
            most_bytes: of a part.

        Raises:
            BodyError: it isn't multipart/related of DICOM, or has no boundary.
        """
        kind, options = parse_options_header(content_type)
        if kind != RELATED.encode() or options.get(b"type", DICOM.encode()) != DICOM.encode():
            raise BodyError(415, f'the body has to be {RELATED}; type="{DICOM}"')
        if not options.get(b"boundary"):
            raise BodyError(400, f"{RELATED} without a boundary")
        self._most = most_bytes
        self._name, self._value, self._type = bytearray(), bytearray(), ""
        self._content: bytearray | None = bytearray()
        self._whole: list[Part] = []
        self._ended = False
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._begin,
                    "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._end_header,
                    "on_part_data": self._take,
                    "on_part_end": self._end,
                    "on_end": self._end_all,
                },
            )
        except FormParserError as error:
            raise BodyError(400, f"{RELATED}: {error}") from error

    def feed(self, data: bytes) -> list[Part]:
        """Take some more of the body.

        Returns:
            The parts that are whole now, each once.

        Raises:
            BodyError: it is none of multipart.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise BodyError(400, f"the body is no {RELATED}: {error}") from error
        whole, self._whole = self._whole, []
        return whole

    def close(self) -> None:
        """Make sure that the body came to its end.

        Raises:
            BodyError: it was cut off.
        """
        if not self._ended:
            raise BodyError(400, "the body ends before its last boundary")

    def _begin(self) -> None:
        self._type, self._content = "", bytearray()

    def _end_header(self) -> None:
        if bytes(self._name).lower() == b"content-type":
            self._type = parse_options_header(bytes(self._value))[0].decode("latin-1").lower()
        self._name.clear()
        self._value.clear()

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._content is None:
            return
        if len(self._content) + end - start > self._most:
            self._content = None
        else:
            self._content += memoryview(data)[start:end]

    def _end(self) -> None:
        content = None if self._content is None else bytes(self._content)
        self._content = None
        self._whole.append(Part(self._type, content))

    def _end_all(self) -> None:
        self._ended = True
