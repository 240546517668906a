"""Reads what a run has stored, for the tests. Standard library only."""

import ctypes
import json


def unpacked(path):
    """The text of a file that zstd packed in one frame."""
    zstd = ctypes.CDLL("libzstd.so.1")
    zstd.ZSTD_getFrameContentSize.restype = ctypes.c_ulonglong
    zstd.ZSTD_decompress.restype = ctypes.c_size_t
    data = path.read_bytes()
    size = zstd.ZSTD_getFrameContentSize(data, ctypes.c_size_t(len(data)))
    out = ctypes.create_string_buffer(size)
    done = zstd.ZSTD_decompress(out, ctypes.c_size_t(size), data, ctypes.c_size_t(len(data)))
    assert done == size, path
    return out.raw.decode()


def rows_of(text):
    return [json.loads(line) for line in text.split("\n") if line]
