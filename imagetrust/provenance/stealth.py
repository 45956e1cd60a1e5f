"""Parameters that generators hide in the lowest bits of an image's pixels.

Layout as ashen-sensored/sd_webui_stealth_pnginfo, which NovelAI, SwarmUI and forks of the web UI follow: down one
column after the other, one bit of alpha or three of red, green and blue a pixel; 15 bytes of signature, the payload's
length in bits as 32 bits, the payload, plain or by gzip.
"""

import io
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imagetrust.provenance.bounds import MAX_HIDDEN_BYTES, MAX_HIDDEN_PIXELS, check_size
from imagetrust.provenance.finding import NOTHING, Reading
from imagetrust.provenance.opened_file import OpenedFile

_SIGNATURES = {  # -> whether the payload is compressed
    "alpha": {b"stealth_pnginfo": False, b"stealth_pngcomp": True},
    "rgb": {b"stealth_rgbinfo": False, b"stealth_rgbcomp": True},
}
_SIGNATURE_BYTES = 15
_HEAD_BITS = 8 * (_SIGNATURE_BYTES + 4)
_FEW_ROWS = 8  # tell nearly all images apart: a byte of alpha, three of red, green and blue
_CHANNELS = {2: 3, 6: 4}  # PNG's colour types RGB and RGBA -> samples a pixel
_PAETH, _AVERAGE, _UP = 4, 3, 2  # PNG 3, 9.2: filters in which the first pixel of a row depends on the row above


def read_hidden_texts(file: OpenedFile) -> Reading:
    """No finding, but the hidden texts by where they stand: "stealth:alpha" or "stealth:rgb".

    Only lossless files keep lowest bits: PNG and lossless WebP. Of a PNG the first column is looked at before its
    pixels are decoded once more. Raises TooLarge on a payload over the bound, zlib.error on a broken one.
    """
    width, height = file.header.size
    if width * height > MAX_HIDDEN_PIXELS or file.header.mode not in ("RGB", "RGBA"):
        return NOTHING
    is_lossless_webp = file.header.format == "WEBP" and any(kind == b"VP8L" for kind, _ in file.boxes())
    if not is_lossless_webp and not (file.header.format == "PNG" and _may_hide(file, height)):
        return NOTHING
    with Image.open(io.BytesIO(file.data), formats=(str(file.header.format),)) as opened:
        columns = min(width, -(-(_HEAD_BITS + 8 * MAX_HIDDEN_BYTES) // height))
        pixels = np.asarray(opened.crop((0, 0, columns, height)))
    texts = {}
    for place, channels in (("alpha", pixels[..., 3:]), ("rgb", pixels[..., :3])):
        if channels.shape[2] and (text := _hidden(channels, _SIGNATURES[place])):
            texts[f"stealth:{place}"] = text
    return Reading(texts=texts)


def _hidden(channels: NDArray[np.uint8], signatures: Mapping[bytes, bool]) -> str:
    """Return the text in the lowest bits of (height, width, channels); empty where no signature begins them."""
    height, width, count = channels.shape
    if height * width * count < _HEAD_BITS:
        return ""
    head = _bytes(channels, _HEAD_BITS)
    is_compressed = signatures.get(head[:_SIGNATURE_BYTES])
    if is_compressed is None:
        return ""
    bits = int.from_bytes(head[_SIGNATURE_BYTES:], "big")
    check_size(bits // 8, MAX_HIDDEN_BYTES)
    payload = _bytes(channels, _HEAD_BITS + bits)[_HEAD_BITS // 8 :]
    if is_compressed:
        unpacked = zlib.decompressobj(wbits=31)
        payload = unpacked.decompress(payload, MAX_HIDDEN_BYTES)
        check_size(len(payload) + len(unpacked.unconsumed_tail), MAX_HIDDEN_BYTES)
    return payload.decode("utf-8", errors="replace")


def _bytes(channels: NDArray[np.uint8], bits: int) -> bytes:
    height, _, count = channels.shape
    columns = -(-bits // (height * count))
    lowest = channels[:, :columns].transpose(1, 0, 2).ravel()[:bits] & 1
    return np.packbits(lowest).tobytes()


def _may_hide(file: OpenedFile, height: int) -> bool:
    """Whether the first column of a PNG begins with one of the signatures, as far as it reaches.

    Its pixels depend on no other column, so that a few rows are unpacked instead of the whole image. An interlaced
    image, or one of 16 bits, is none that these programs write.
    """
    depth, colour, _, _, interlaced = file.data[24:29]
    count = _CHANNELS.get(colour, 0)
    if depth != 8 or not count or interlaced:
        return False
    return all(_may_begin(file, min(height, rows), count) for rows in (_FEW_ROWS, 8 * _SIGNATURE_BYTES))


def _may_begin(file: OpenedFile, rows: int, count: int) -> bool:
    """Whether the pixels of a PNG's first column, of so many samples each, can be those of a signature."""
    length = 1 + file.header.size[0] * count
    unpacked = _first_bytes(file, rows * length)
    column = np.zeros((rows, count), np.uint8)
    above = np.zeros(count, np.uint8)
    for row in range(min(rows, len(unpacked) // length)):
        start = row * length
        pixel = np.frombuffer(unpacked, np.uint8, count, start + 1)
        if unpacked[start] in (_UP, _PAETH):  # Paeth's predictor of a first pixel is the one above
            pixel = pixel + above
        elif unpacked[start] == _AVERAGE:
            pixel = pixel + above // 2
        column[row] = above = pixel
    places = [("alpha", column[:, 3:]), ("rgb", column[:, :3])] if count == 4 else [("rgb", column)]
    for place, samples in places:
        begun = np.packbits(samples.ravel()[: samples.size // 8 * 8] & 1).tobytes()[:_SIGNATURE_BYTES]
        if begun and any(signature.startswith(begun) for signature in _SIGNATURES[place]):
            return True
    return False


def _first_bytes(file: OpenedFile, wanted: int) -> bytes:
    unpacking, unpacked = zlib.decompressobj(), b""
    for kind, start, size in file.png_chunks:
        if kind == b"IDAT":
            unpacked += unpacking.decompress(file.data[start : start + size], wanted - len(unpacked))
            if len(unpacked) >= wanted or unpacking.eof:
                break
    return unpacked
