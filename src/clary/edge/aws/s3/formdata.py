"""multipart/form-data of a browser-based upload: fields first, then one file, piece by piece in bounded memory.

Source: RFC 7578, and https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html: what follows the file is
ignored.
"""

from __future__ import annotations

import re

from clary.edge.aws.s3.errors import S3Error

FIELD_BYTES_MAX = 64 * 1024
"""All that comes before the file. S3 says 20 KB of fields; their frames count here, too."""
_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_NAME = re.compile(r'[;\s]name="([^"]*)"', re.IGNORECASE)
_FILENAME = re.compile(r'[;\s]filename="([^"]*)"', re.IGNORECASE)


class FormData:
    """Feed it the body; it gives back the file's bytes. `fields` are whole once `in_file`."""

    def __init__(self, content_type: str) -> None:
        """S3Error where the header names no boundary."""
        found = _BOUNDARY.search(content_type)
        if found is None:
            raise S3Error("MalformedPOSTRequest")
        self._delimiter = b"\r\n--" + (found[1] or found[2]).encode("latin-1")
        # The first delimiter lacks its line break where nothing stands before it.
        self._held = bytearray(b"\r\n")
        self._state = "preamble"
        self._name = ""
        self._before_bytes = 0
        self.fields: dict[str, str] = {}
        """By lower-case name."""
        self.file_name = ""
        self.in_file = False
        """Whether the file has begun."""

    def feed(self, data: bytes) -> bytes:
        """The file's bytes among `data` and what was held back; S3Error."""
        if not self.in_file:
            self._before_bytes += len(data)
        self._held += data
        while not self.in_file and self._step():
            pass
        if self._state == "file":
            return self._file()
        # Of the read that the file began in, some bytes are the file's: the limit is exact only up to one read.
        if not self.in_file and self._before_bytes > FIELD_BYTES_MAX:
            raise S3Error("MaxPostPreDataLengthExceeded", MaxPostPreDataLengthBytes=str(FIELD_BYTES_MAX))
        return b""

    def finish(self) -> None:
        """S3Error where the body ended before the file did."""
        if self._state == "none":
            raise S3Error("IncorrectNumberOfFilesInPostRequest")
        if self._state != "end":
            raise S3Error("MalformedPOSTRequest")

    def _step(self) -> bool:
        """Go on by one part of the frame; False where more bytes are needed."""
        if self._state in ("preamble", "value"):
            value = self._take(self._delimiter)
            if value is None:
                return False
            if self._state == "value":
                self._keep(value)
            self._state = "delimited"
            return True
        if self._state == "delimited":
            if len(self._held) < 2:
                return False
            mark, self._held = bytes(self._held[:2]), self._held[2:]
            if mark not in (b"--", b"\r\n"):
                raise S3Error("MalformedPOSTRequest")
            self._state = "head" if mark == b"\r\n" else "none"
            return True
        if self._state == "head":
            head = self._take(b"\r\n\r\n")
            if head is None:
                return False
            self._begin(head)
            return True
        return False

    def _take(self, end: bytes) -> bytes | None:
        """What stands before `end`, both taken; None where it has not come."""
        at = self._held.find(end)
        if at < 0:
            return None
        taken = bytes(self._held[:at])
        del self._held[: at + len(end)]
        return taken

    def _begin(self, head: bytes) -> None:
        """A part: a field, or the file."""
        text = _utf8(head)
        disposition = next((one for one in text.split("\r\n") if one.lower().startswith("content-disposition:")), "")
        name = _NAME.search(disposition)
        if name is None:
            raise S3Error("MalformedPOSTRequest")
        self._name = name[1].lower()
        if self._name != "file":
            self._state = "value"
            return
        given = _FILENAME.search(disposition)
        # Some browsers send the whole path.
        self.file_name = re.split(r"[/\\]", given[1])[-1] if given is not None else ""
        self._state = "file"
        self.in_file = True

    def _keep(self, value: bytes) -> None:
        if self._name in self.fields:
            raise S3Error("InvalidArgument", f"POST form has two fields named {self._name}.", ArgumentName=self._name)
        self.fields[self._name] = _utf8(value)

    def _file(self) -> bytes:
        at = self._held.find(self._delimiter)
        if at >= 0:
            self._state = "end"
            piece = bytes(self._held[:at])
            self._held.clear()
            return piece
        kept = len(self._delimiter) - 1
        piece = bytes(self._held[:-kept])
        del self._held[:-kept]
        return piece


def _utf8(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise S3Error("MalformedPOSTRequest") from None
