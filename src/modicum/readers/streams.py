"""Bytes of an input, whatever it is compressed with, and compressed outputs that are reproducible.

Compression is recognised by the first bytes of a file, never by its name. A compressed file that
stops before its end raises `EOFError` once everything before the cut has been read.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from modicum.errors import InputError

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
DAMAGED = (OSError, zlib.error, lzma.LZMAError, EOFError)  # what reading a broken file raises
_MAGIC = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\x00": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}
MOST_BYTES = 4 << 30  # that a compressed file may always expand to
MOST_TIMES = 500  # and beyond that, times its size; text is seldom 50
_CHUNK = 1 << 18
_FED = 1 << 10  # bytes to the zstandard decoder at once: 4 bytes can stand for 128 KiB


def compression(path: str | Path) -> str:
    """`.gz`, `.bz2`, `.xz`, `.zst`, or nothing for a file that is not compressed."""
    with _opened(path) as file:
        head = file.read(6)
    return next((ending for magic, ending in _MAGIC.items() if head.startswith(magic)), "")


def open_bytes(path: str | Path) -> BinaryIO:
    """The decompressed bytes of a file, read as they are asked for.

    One that expands beyond all measure raises `InputError` on the way.
    """
    if not (kind := compression(path)):
        return _opened(path)
    return io.BufferedReader(_Bounded(_DECOMPRESSED[kind](path), path), _CHUNK)


@contextmanager
def compressed(file: BinaryIO, kind: str) -> Iterator[BinaryIO]:
    """Write to `file` compressed as `kind`; the same bytes in give the same bytes out."""
    if kind == "":
        yield file
        return
    with _compressor(file, kind) as stream:
        yield stream


def file_hash(path: str | Path) -> str:
    """Blake2b of the file as it lies on disk, compressed or not."""
    with _opened(path) as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def skip(stream: BinaryIO, size: int) -> None:
    """Pass over `size` bytes of a stream, in bounded memory."""
    while size > 0 and (gone := stream.read(min(size, _CHUNK))):
        size -= len(gone)


def copy(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """The next `size` bytes of a stream, in bounded memory."""
    while size > 0 and (part := stream.read(min(size, _CHUNK))):
        size -= len(part)
        yield part


def _opened(path: str | Path) -> io.BufferedReader:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror}") from error


def _compressor(file: BinaryIO, kind: str) -> Any:
    if kind == ".gz":
        # A name or a time in the header would make two equal subsets differ.
        return gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
    if kind == ".bz2":
        return bz2.BZ2File(file, "wb")
    if kind == ".xz":
        return lzma.LZMAFile(file, "wb")
    import zstandard

    return zstandard.ZstdCompressor().stream_writer(file, closefd=False)


class _Bounded(io.RawIOBase):
    """What a compressed file holds, up to what no honest one does."""

    def __init__(self, stream: Any, path: str | Path) -> None:
        self._stream, self._path = stream, path
        self._read = getattr(stream, "read1", stream.read)
        self._left = max(MOST_BYTES, MOST_TIMES * Path(path).stat().st_size)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._stream.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        # What can be had at once: of a cut file all that stands before the cut.
        data = self._read(len(buffer))
        size = len(data)
        buffer[:size] = data
        self._left -= size
        if self._left < 0:
            raise InputError(
                f"{self._path} expands beyond {MOST_TIMES} times its size, and beyond "
                f"{MOST_BYTES >> 30} GiB; if it is meant to, decompress it yourself"
            )
        return size


class _Zstandard(io.RawIOBase):
    """Decompressed zstandard; unlike the library's own stream, a cut file raises `EOFError`."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._frame: Any = None  # the frame being read, None between two frames
        self._compressed = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            if not self._compressed and not (read := self._file.read(_FED)):
                if self._frame is not None:
                    raise EOFError("the file ended before the end of its last frame")
                return 0
            self._decompress(self._compressed or read)
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _decompress(self, data: bytes) -> None:
        import zstandard

        self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
        try:
            self._ready = memoryview(self._frame.decompress(data))
        except zstandard.ZstdError as error:
            raise OSError(str(error)) from error
        self._compressed = self._frame.unused_data if self._frame.eof else b""
        if self._frame.eof:
            self._frame = None


_DECOMPRESSED: dict[str, Callable[[Any], Any]] = {
    ".gz": gzip.GzipFile,
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": lambda path: _Zstandard(_opened(path)),
}
