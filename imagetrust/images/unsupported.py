"""What a file is that is no picture this product judges, so that a refusal can name it. Reads headers alone."""

import re
import struct
from collections.abc import Iterator

# (offset, bytes there, what such a file is): the signatures that the formats' own documents give.
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"II\xbc", "JPEG XR"),
    (0, b"8BPS", "a Photoshop document (PSD)"),
    (0, b"%PDF-", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript (EPS)"),
    (0, b"II\x1a\0\0\0HEAPCCDR", "a camera's raw file (CRW)"),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw file (RAF)"),
    (0, b"IIRO", "a camera's raw file (ORF)"),
    (0, b"IIRS", "a camera's raw file (ORF)"),
    (0, b"MMOR", "a camera's raw file (ORF)"),
    (0, b"IIU\0", "a camera's raw file (RW2)"),
    (0, b"FOVb", "a camera's raw file (X3F)"),
    (0, b"\0MRM", "a camera's raw file (MRW)"),
    (0, b"icns", "an icon (ICNS)"),
    (0, b"v/1\1", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"#?RGBE", "Radiance HDR"),
    (0, b"DDS ", "DDS"),
    (0, b"qoif", "QOI"),
    (0, b"farbfeld", "farbfeld"),
    (0, b"BPG\xfb", "BPG"),
    (0, b"FLIF", "FLIF"),
    (0, b"\x8aMNG\r\n\x1a\n", "MNG"),
    (0, b"\x8bJNG\r\n\x1a\n", "JNG"),
    (0, b"gimp xcf", "a GIMP image (XCF)"),
    (0, b"\xd7\xcd\xc6\x9a", "WMF"),
    (40, b" EMF", "EMF"),
    (0, b"AT&TFORM", "DjVu"),
    (0, b"SIMPLE  =", "FITS"),
    (128, b"DICM", "DICOM"),
    (0, b"/* XPM */", "XPM"),
    (0, b"\x59\xa6\x6a\x95", "a Sun raster image"),
    (0, b"\x01\xda", "an SGI image"),
    (0, b"\x1aE\xdf\xa3", "a video (Matroska or WebM)"),
    (8, b"AVI ", "a video (AVI)"),
    (8, b"WAVE", "a sound (WAVE)"),
    (0, b"FLV\1", "a video (FLV)"),
    (0, b"\0\0\1\xba", "a video (MPEG)"),
    (0, b"\0\0\1\xb3", "a video (MPEG)"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "a video (ASF)"),
    (0, b"OggS", "Ogg"),
    (0, b"ID3", "a sound (MP3)"),
    (0, b"PK\3\4", "a ZIP archive, or a document in one"),
    (0, b"\x1f\x8b", "compressed with gzip"),
    (0, b"BZh", "compressed with bzip2"),
    (0, b"\xfd7zXZ\0", "compressed with xz"),
    (0, b"(\xb5/\xfd", "compressed with zstd"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"bplist", "a property list"),
)  # fmt: skip
_OTHERS = (b"\x89PNG", b"GIF8", b"BM")  # supported formats of which there is no kind to name
_PATTERNS = (
    (re.compile(rb"P[1-7Ff]\s"), "Netpbm"),
    (re.compile(rb"\x00\x00\x01\x00[^\x00]"), "an icon (ICO)"),  # and how many it holds
    (re.compile(rb"\x00\x00\x02\x00[^\x00]"), "a cursor (CUR)"),
)
_TGA_FOOTER = b"TRUEVISION-XFILE.\0"
_MARKUP = re.compile(r"<(svg|html|!doctype html|script|body)\b", re.IGNORECASE)
_MARKUP_BYTES = 4096  # within which an SVG or a page of HTML names itself

# ISO base media files by their major brand (mp4ra.org); any other is a video.
_BRANDS = {
    b"crx ": "a camera's raw file (CR3)",
    b"jxl ": "JPEG XL",
    b"jp2 ": "JPEG 2000",
    b"M4A ": "a sound (MPEG-4)",
    b"avci": "HEIF with AVC inside",
    b"avcs": "HEIF with AVC inside",
    b"vvic": "HEIF with VVC inside",
    b"vvis": "HEIF with VVC inside",
    b"evbi": "HEIF with EVC inside",
    b"jpeg": "HEIF with JPEG inside",
    b"jpgs": "HEIF with JPEG inside",
    b"j2ki": "HEIF with JPEG 2000 inside",
    b"j2is": "HEIF with JPEG 2000 inside",
}
# What HEIF makes of other images or stores without a codec, by the type of the item (ISO/IEC 23008-12 and 23001-17).
# No camera is known to write it, and libheif's gravest faults were there (deploy/SECURITY.md). An entry of iinf is
# looked for wherever it is, so that boxes that two programs read differently hide none.
_HEIF_ITEM = re.compile(rb"infe(?:.{8})?(?:\x02.{7}|[^\x00-\x02].{9})(iden|iovl|mski|tili|unci)", re.DOTALL)
_HEIF_ITEMS = {
    b"iden": "HEIF with a copy of another image inside",
    b"iovl": "HEIF with an overlay of images inside",
    b"mski": "HEIF with a mask inside",
    b"tili": "HEIF with a tiled image (tili) inside",
    b"unci": "HEIF with an uncompressed image inside",
}
_HEIF_BRANDS = {
    b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1",
}  # fmt: skip
_AVIF_BRANDS = {b"avif", b"avis"}  # which libheif does not read

# JPEG's frames by their marker (ITU-T T.81, table B.1). Those not named here are sequential or progressive.
_FRAMES = {
    0xC3: "a lossless JPEG",
    0xC5: "a hierarchical JPEG",
    0xC6: "a hierarchical JPEG",
    0xC7: "a hierarchical, lossless JPEG",
    0xC9: "a JPEG with arithmetic coding",
    0xCA: "a progressive JPEG with arithmetic coding",
    0xCB: "a lossless JPEG with arithmetic coding",
    0xCD: "a hierarchical JPEG with arithmetic coding",
    0xCE: "a hierarchical JPEG with arithmetic coding",
    0xCF: "a hierarchical, lossless JPEG with arithmetic coding",
    0xDE: "a hierarchical JPEG",  # DHP, which precedes the frames of one
    0xF7: "JPEG-LS",  # ITU-T T.87
}
_SEQUENTIAL = (0xC0, 0xC1, 0xC2)
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd9\xff])", re.DOTALL)  # of those that a segment follows
_MAX_SEGMENTS = 4096

# TIFF tags and values (TIFF 6.0, its supplements and DNG 1.7).
_NEW_SUBFILE_TYPE, _SUBFILE_TYPE = 254, 255
_WIDTH, _LENGTH, _STRIPS, _TILES = 256, 257, 273, 324
_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _SAMPLE_FORMAT = 258, 259, 262, 277, 339
_MAKE, _SUB_IFDS, _DNG_VERSION = 271, 330, 50706
_SENSOR = (32803, 34892)  # photometric interpretations: colour filter array, linear raw
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_OLD_REDUCED = 2  # a value of SubfileType
_SIGNED = 2  # a value of SampleFormat
_COMPRESSIONS = {
    6: "JPEG in its old layout", 99: "JBIG", 9: "JBIG", 32809: "ThunderScan", 34661: "JBIG", 34712: "JPEG 2000",
    33003: "JPEG 2000", 33005: "JPEG 2000", 34715: "JBIG2", 34887: "LERC", 34892: "lossy DNG", 22610: "JPEG XR",
    34934: "JPEG XR", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
_RAW_COMPRESSIONS = {262, 32767, 32769, 32770, 34713, 65000, 65535}  # Kodak, Sony, Epson, Samsung, Nikon, Kodak, Pentax
_RAW_BY_MAKE = {
    b"NIKON": "NEF", b"SONY": "ARW", b"PENTAX": "PEF", b"RICOH": "PEF", b"SAMSUNG": "SRW", b"HASSELBLAD": "3FR",
    b"PHASE ONE": "IIQ", b"LEAF": "MOS", b"KODAK": "DCR", b"EASTMAN": "DCR", b"SEIKO EPSON": "ERF", b"MAMIYA": "MEF",
    b"LEICA": "RWL", b"PANASONIC": "RW2", b"OLYMPUS": "ORF", b"CANON": "CR2",
}  # fmt: skip
_SAMPLE_KINDS = {1: "unsigned", 2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
_TIFF_HEADERS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MAX_DIRECTORIES, _MAX_ENTRIES, _MAX_VALUES = 32, 512, 64

Directory = dict[int, tuple[int, ...] | bytes]


def unsupported_kind(data: bytes) -> str | None:
    """Name what a file is where it must not be judged, such as "a 12-bit JPEG"; None where a decoder may try it.

    Among these are files whose first picture is a preview of the one that is meant: a camera's raw files and TIFFs with
    a reduced first page.
    """
    if data.startswith(b"\xff\xd8"):
        return _jpeg_kind(data)
    if data[4:8] == b"ftyp" and len(data) >= 16:
        brand = data[8:12]
        if brand in _AVIF_BRANDS:
            return None
        if brand not in _HEIF_BRANDS:
            return _BRANDS.get(brand, "a video (MPEG-4 or QuickTime)")
        found = _HEIF_ITEM.search(data)
        return _HEIF_ITEMS[found[1]] if found else None
    if data.startswith(_TIFF_HEADERS):
        return _tiff_kind(data)
    if data.startswith(_OTHERS) or data[8:12] == b"WEBP":
        return None
    for offset, signature, name in _SIGNATURES:
        if data.startswith(signature, offset):
            return name
    for pattern, name in _PATTERNS:
        if pattern.match(data):
            return name
    if data.endswith(_TGA_FOOTER):
        return "TGA"
    return _markup_kind(data[:_MARKUP_BYTES])


def tiff_layout(data: bytes) -> str | None:
    """Describe the pixels of a TIFF's first page, such as "a TIFF with 3 floating-point samples of 32 bits a pixel".

    None where the directory is cut off: it does not say how large the page is or where its pixels are.
    """
    first = next(_directories(data), {})
    if not {_WIDTH, _LENGTH} <= first.keys() or not {_STRIPS, _TILES} & first.keys():
        return None
    kind = _SAMPLE_KINDS.get(_number(first, _SAMPLE_FORMAT, 1), "unknown")
    samples, bits = _number(first, _SAMPLES, 1), _number(first, _BITS, 1)
    return (
        f"a TIFF with {samples} {kind} sample{'s' * (samples != 1)} of {bits} bit{'s' * (bits != 1)} a pixel "
        f"(photometric interpretation {_number(first, _PHOTOMETRIC, 0)}, compression {_number(first, _COMPRESSION, 1)})"
    )


def _markup_kind(start: bytes) -> str | None:
    encoding = "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    text = start.decode(encoding, errors="replace").lstrip()
    found = _MARKUP.search(text) if text.startswith("<") else None
    if not found:
        return None
    return "SVG" if found[1].lower() == "svg" else "a page of HTML"


def frame_fault(data: bytes) -> str | None:
    """Say what is wrong with a JPEG that has no frame's header before its first scan, or too many segments before it.

    Pillow looks for one byte by byte, which takes seconds for a file of nothing else.
    """
    if not data.startswith(b"\xff\xd8"):
        return None
    try:
        return None if _frame(data) else "the JPEG has no frame header"
    except OverflowError:
        return f"the JPEG has over {_MAX_SEGMENTS} segments before its frame header"


def _frame(data: bytes) -> tuple[int, bytes] | None:
    """Return the marker of a JPEG's frame and the five bytes behind it: length, bits and height.

    Raises OverflowError where too many segments are before it.
    """
    position = 2
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if not found or found[1] == b"\xda":  # the scan: no frame came before it
            return None
        marker, segment = found[1][0], data[found.end() : found.end() + 5]
        if len(segment) == 5 and (marker in _FRAMES or marker in _SEQUENTIAL):
            return marker, segment
        position = found.end() + int.from_bytes(segment[:2])
    raise OverflowError


def _jpeg_kind(data: bytes) -> str | None:
    try:
        found = _frame(data)
    except OverflowError:
        return None
    if not found:
        return None
    marker, segment = found
    if marker in _FRAMES:
        return _FRAMES[marker]
    bits, height = segment[2], int.from_bytes(segment[3:])
    if bits != 8:
        return f"a {bits}-bit JPEG"
    return None if height else "a JPEG that tells its height behind its pixels (DNL)"


def _tiff_kind(data: bytes) -> str | None:
    if data.startswith(b"MM\0+"):
        return "a BigTIFF in big-endian order"  # Pillow reads those in little-endian order alone
    directories = list(_directories(data))
    if not directories:
        return None
    first = directories[0]
    if _DNG_VERSION in first:
        return "a camera's raw file (DNG)"
    if data.startswith((b"CR\x02", b"IIII"), 8):
        return f"a camera's raw file ({'CR2' if data[8:9] == b'C' else 'IIQ'})"
    if any(
        _number(each, _PHOTOMETRIC, 0) in _SENSOR or _number(each, _COMPRESSION, 1) in _RAW_COMPRESSIONS
        for each in directories
    ):
        make = first.get(_MAKE, b"")
        name = make.strip(b"\0 ").upper() if isinstance(make, bytes) else b""
        known = next((suffix for start, suffix in _RAW_BY_MAKE.items() if name.startswith(start)), None)
        return f"a camera's raw file ({known})" if known else "a camera's raw file"
    if _number(first, _NEW_SUBFILE_TYPE, 0) & _REDUCED or _number(first, _SUBFILE_TYPE, 0) == _OLD_REDUCED:
        return "a TIFF whose first page is a reduced preview"
    if _number(first, _NEW_SUBFILE_TYPE, 0) & _MASK:
        return "a TIFF whose first page is a mask of transparency"
    if _number(first, _BITS, 1) == 8 and _number(first, _SAMPLE_FORMAT, 1) == _SIGNED:
        return tiff_layout(data)  # Pillow reads them as unsigned
    compression = _number(first, _COMPRESSION, 1)
    return f"a TIFF compressed with {_COMPRESSIONS[compression]}" if compression in _COMPRESSIONS else None


def _number(directory: Directory, tag: int, default: int) -> int:
    value = directory.get(tag, ())
    return value[0] if isinstance(value, tuple) and value else default


def _directories(data: bytes) -> Iterator[Directory]:
    """Yield a TIFF's directories: that of each page, followed by its sub-directories, at most _MAX_DIRECTORIES."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    try:
        (offset,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, 8 if is_big else 4)
    except struct.error:
        return
    waiting, seen = [offset], set[int]()
    while waiting and len(seen) < _MAX_DIRECTORIES:
        offset = waiting.pop()
        if offset in seen or not offset:
            continue
        seen.add(offset)
        try:
            directory, following = _read_directory(data, offset, order, is_big)
        except struct.error:  # it lies beyond the file's end
            continue
        yield directory
        nested = directory.get(_SUB_IFDS, ())
        waiting += [following, *(reversed(nested) if isinstance(nested, tuple) else ())]


def _read_directory(data: bytes, offset: int, order: str, is_big: bool) -> tuple[Directory, int]:
    """Return the whole numbers and texts of a directory, and where the next one lies. Raises struct.error."""
    count_format, entry_format, link = ("Q", "HHQ8s", "Q") if is_big else ("H", "HHI4s", "I")
    (count,) = struct.unpack_from(order + count_format, data, offset)
    offset += struct.calcsize(order + count_format)
    size = struct.calcsize(order + entry_format)
    codes = {1: "B", 2: "s", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
    directory: Directory = {}
    for index in range(min(count, _MAX_ENTRIES, (len(data) - offset) // size)):
        tag, kind, number, inline = struct.unpack_from(order + entry_format, data, offset + index * size)
        if kind not in codes or not number:
            continue
        number = min(number, _MAX_VALUES)
        layout = f"{order}{number}{codes[kind]}"
        is_inline = struct.calcsize(layout) <= len(inline)
        try:
            where = 0 if is_inline else struct.unpack(order + link, inline)[0]
            values = struct.unpack_from(layout, inline if is_inline else data, where)
        except struct.error:
            continue
        directory[tag] = values[0] if kind == 2 else values
    following = offset + count * size
    (following,) = struct.unpack_from(order + link, data, following) if following < len(data) else (0,)
    return directory, following
