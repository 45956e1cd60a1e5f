"""A HEIC as phones write it: a grid of coded tiles (ISO/IEC 23008-12, 6.6.2.3). The encoder that is
installed writes one tile alone.

tile.heic is NASA's photograph of Eileen Collins that scikit-image carries, in the public domain, encoded with x265 by
pillow-heif 1.8.1 at quality 65 and 4:2:0.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

TILE = Path(__file__).resolve().parent / "tile.heic"
SIDE = 512  # of the tile, as phones have it


def grid(width: int, height: int) -> bytes:
    """Return a HEIC of this size, with the same tile in every place."""
    tile = TILE.read_bytes()
    top = dict(_boxes(tile))
    meta = dict(_boxes(top[b"meta"][4:]))
    settings = dict(_boxes(dict(_boxes(meta[b"iprp"]))[b"ipco"]))[b"hvcC"]
    across, down = -(-width // SIDE), -(-height // SIDE)
    count = across * down
    start = _box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    layout = struct.pack(">4B2H", 0, 0, down - 1, across - 1, width, height)
    first = len(start) + len(_meta(count, settings, 0, len(top[b"mdat"]), width, height, layout)) + 8
    described = _meta(count, settings, first, len(top[b"mdat"]), width, height, layout)
    return start + described + _box(b"mdat", top[b"mdat"] * count)


def _meta(count: int, settings: bytes, first: int, length: int, width: int, height: int, layout: bytes) -> bytes:
    """Return the box that describes the tiles, items 1 to `count`, and the grid that they make, the item behind them.

    settings: the decoder's. first: where the first tile lies in the file. length: of a tile, in bytes.
    """
    whole = count + 1
    tiles = range(1, whole)
    places = [(tile, 0, 0, 1, first + (tile - 1) * length, length) for tile in tiles] + [
        (whole, 1, 0, 1, 0, len(layout))
    ]
    is_hidden = 1
    items = [_full_box(b"infe", 2, is_hidden, struct.pack(">2H4sB", tile, 0, b"hvc1", 0)) for tile in tiles]
    items.append(_full_box(b"infe", 2, 0, struct.pack(">2H4sB", whole, 0, b"grid", 0)))
    sizes = [_full_box(b"ispe", 0, 0, struct.pack(">2I", *size)) for size in ((SIDE, SIDE), (width, height))]
    is_essential = 0x80
    located = [struct.pack(">4H2I", *place) for place in places]
    owned = [struct.pack(">H3B", tile, 2, is_essential | 1, 2) for tile in tiles] + [struct.pack(">H2B", whole, 1, 3)]
    return _full_box(
        b"meta", 0, 0,
        _full_box(b"hdlr", 0, 0, struct.pack(">I4s12xB", 0, b"pict", 0)),
        _full_box(b"pitm", 0, 0, struct.pack(">H", whole)),
        _full_box(b"iinf", 0, 0, struct.pack(">H", len(items)), *items),
        _full_box(b"iref", 0, 0, _box(b"dimg", struct.pack(f">2H{count}H", whole, count, *tiles))),
        _box(b"iprp", _box(b"ipco", _box(b"hvcC", settings), *sizes),
             _full_box(b"ipma", 0, 0, struct.pack(">I", len(owned)), *owned)),
        _full_box(b"iloc", 1, 0, struct.pack(">2H", 0x4400, len(located)), *located),
        _box(b"idat", layout),
    )  # fmt: skip


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags), *parts)


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the content of each box in a row of them."""
    start = 0
    while start < len(content):
        length, kind = struct.unpack_from(">I4s", content, start)
        yield kind, content[start + 8 : start + length]
        start += length
