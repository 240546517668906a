"""Reads what a run has stored, for the tests. Standard library only."""

import ctypes
import json


class Buffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("position", ctypes.c_size_t)]


def unpacked(path):
    """The text of a file that zstd packed."""
    zstd = ctypes.CDLL("libzstd.so.1")
    zstd.ZSTD_createDStream.restype = ctypes.c_void_p
    zstd.ZSTD_decompressStream.restype = ctypes.c_size_t
    stream = ctypes.c_void_p(zstd.ZSTD_createDStream())
    data = path.read_bytes()
    source = ctypes.create_string_buffer(data, len(data))
    room = ctypes.create_string_buffer(1 << 20)
    taken = Buffer(ctypes.addressof(source), len(data), 0)
    out = bytearray()
    left = 1
    while taken.position < taken.size or left > 0:
        given = Buffer(ctypes.addressof(room), len(room), 0)
        left = zstd.ZSTD_decompressStream(stream, ctypes.byref(given), ctypes.byref(taken))
        assert not zstd.ZSTD_isError(ctypes.c_size_t(left)), path
        assert given.position > 0 or taken.position < taken.size or left == 0, f"{path} is cut short"
        out += room.raw[: given.position]
    zstd.ZSTD_freeDStream(stream)
    return out.decode()


def rows_of(text):
    return [json.loads(line) for line in text.split("\n") if line]
