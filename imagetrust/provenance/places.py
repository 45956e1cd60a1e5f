"""Withholds what is private: where an image was taken, in whichever field and dialect a file states it, and which
device took it, by its serial number.

A place is recognised by the name of its field and by the shape of its value, so that a position in a field that nobody
knows is withheld too.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

from imagetrust.provenance.bounds import MAX_DEPTH, MAX_ITEMS, MAX_TEXT, MAX_VALUES
from imagetrust.provenance.finding import Finding

WITHHELD = "[withheld]"

# Parts of a field's name, lower case without punctuation: EXIF, GeoTIFF, XMP of any vendor, PNG keywords, JSON.
_NAME_PARTS = re.compile(
    r"gps|(?<!isospeed)longt?itude|(?<!isospeed)latitude|altitude|geotag|geolocation|geohash|geokey|geodoubleparams"
    r"|geoasciiparams|modeltiepoint|modelpixelscale|modeltransformation|sublocation|locationshown|locationcreated"
    r"|country|worldregion|ciadr|iso6709|mgrs|pluscode|what3words|gdalmetadata|intergraphmatrix"
    r"|latl(?:ng|on)|l(?:ng|on)lat|geoposition|(?:verbatim|decimal|geo|map)coordinates|footprintwkt|placename"
    r"|homepoint|takeoffp|position(?:ll[ah]|ned|enu|ecef)|originll[ah]"  # Skydio, Autel, DJI
    r"|(?:target|abs|rel|home|takeoff|lrf)alt$"  # DJI: LRFTargetAlt, LRFTargetAbsAlt
    r"|pointofinterest|neighbou?rhood|serialn(?:o$|um)|^serial$|^imei"
    r"|^rawprofiletype(?!ic[cm]$)"  # ImageMagick's hexadecimal copy of a whole EXIF, IPTC or XMP block
)
# Words of a field's name, where it is written as several: "shotLocation", "City Name", "IPTC_Address".
_NAME_WORDS = {"location", "city", "province", "locality", "address", "lat", "lng", "lon"}
# Whole names, which as a part of one mean something else: "CameraElevationAngle", "SaveState".
_NAMES = {
    "lon", "long", "state", "provincestate", "stateprovince", "place", "coordinates", "elevation", "coverage",
    "spatial", "county", "places", "venue", "landmark", "suburb", "poi", "town", "village",
    "street", "postcode", "postalcode", "zipcode",
}  # fmt: skip
_NOT_PLACES = {"subjectlocation"}  # EXIF 2.32, 4.6.5: where in the image, in pixels
# GeoTIFF 1.1, 7.1 and annex; the GPS directory of EXIF; GDAL's metadata.
_TAGS = {0x8480, 0x8482, 0x830E, 0x85D8, 0x87AF, 0x87B0, 0x87B1, 0x8825, 0xA480}
_IPTC_DATA_SET = re.compile(r"\b2[:#](?:26|27|90|92|95|100|101)$")  # IPTC-IIM 4.2, record 2
# What a finding itself calls so, the state of its credentials.
_OWN_NAMES = {("c2pa", "state")}

_ANGLE = r"\d{1,3}(?:[.,]\d{1,15})?\s?(?:°|º|˚|deg\b|degrees?\b)"
_MINUTES = r"\s?\d{1,2}(?:\.\d{1,15})?\s?(?:'|′|’|min\b)"
_SECONDS = r"\s?\d{1,2}(?:\.\d{1,15})?\s?(?:''|\"|″|”|sec\b)"
_PLAIN = r"\d{1,3}(?:(?:[ :]\d{1,2}){1,2}(?:\.\d{1,15})?|\.\d{1,15})°?"
_SHAPES = re.compile(
    "|".join(
        (
            r"\bgeo:[-+]?\d[^\s\"'<>]*",  # RFC 5870
            r"\$G[A-Z]{4},[^\s\"'<>]*",  # a sentence of NMEA 0183, and the position in one
            r"\b\d{3,5}\.\d{1,10},?\s?[NS],?\s?\d{3,5}\.\d{1,10},?\s?[EW]\b",
            # ISO 6709, annex H: with its solidus, or with fractions of both angles.
            r"(?<![\w.])[-+]\d{2,6}(?:\.\d{1,15})?[-+]\d{3,7}(?:\.\d{1,15})?(?:[-+]\d{1,6}(?:\.\d{1,9})?)?(?:CRS\w{1,16})?/(?!\w)",
            r"(?<![\w.])[-+]\d{2,6}\.\d{1,15}[-+]\d{3,7}\.\d{1,15}(?:[-+]\d{1,6}(?:\.\d{1,9})?)?",
            # Degrees with a hemisphere before or behind, or with minutes and seconds.
            rf"\b[NSEW]\s?{_ANGLE}(?:{_MINUTES}?(?:{_SECONDS})?)?",
            rf"(?<![\w.]){_ANGLE}(?:{_MINUTES}(?:{_SECONDS})?)?\s?[NSEW]\b",
            rf"(?<![\w.]){_ANGLE}{_MINUTES}{_SECONDS}",
            rf"(?<![\w.:]){_PLAIN}\s?[NS]\b[\s,;/]{{0,3}}{_PLAIN}\s?[EW]\b",
            rf"\b[NS]\s?{_PLAIN}[\s,;/]{{0,3}}[EW]\s?{_PLAIN}",
            r"(?<![\w.])\d{1,3}\.\d{2,15}\s?[NS][\s,;]{0,3}\d{1,3}\.\d{2,15}\s?[EW]\b",
            r"(?<![\w.:])\d{1,3}[:d]\s?\d{1,2}[:m]\s?\d{1,2}(?:\.\d{1,15})?s?\s?[NSEW]\b",
            r"(?<![\w.])\d{1,3}\.\d{4,15}[-+]\d{1,3}\.\d{4,15}(?![\w.])",
            r"(?<![\w.,])[-+]?\d{1,3},\d{4,15}(?:\s?[;/|]\s?|\s)[-+]?\d{1,3},\d{4,15}(?![\w,])",  # with decimal commas
            # In the address of a map.
            r"/maps/(?:place|search|dir)/[^\s\"'<>]{1,512}",
            r"(?:/@|\bloc:|\b(?:ll|q|query|center|cp|[ds]addr)=)[-+]?\d{1,3}\.\d{1,15}(?:,|%2C|\+)[-+]?\d{1,3}\.\d{1,15}(?:,\d{1,2}(?:\.\d{1,4})?[zma]\b)?",
            # OGC 06-103r4, clause 7: well-known text.
            r"\b(?:MULTI)?(?:POINT|LINESTRING|POLYGON)\s?(?:ZM?|M)?\s?\([-+\d][-+\d.,\s()]{2,256}",
            # UTM, MGRS and Open Location Code.
            r"\b\d{1,2}\s?[C-HJ-NP-X]\s?\d{6}(?:\.\d{1,9})?(?:\s?mE?)?[\s,]{1,3}\d{6,7}(?:\.\d{1,9})?(?:\s?mN?)?\b",
            r"\b\d{1,2}[C-HJ-NP-X]\s?[A-HJ-NP-Z]{2}\s?\d{4,5}\s?\d{4,5}\b",
            r"\b[23456789CFGHJMPQRVWX]{8}\+[23456789CFGHJMPQRVWX]{2,3}\b",
            r"(?<![\w.,])\d{1,3},\d{1,2}(?:\.\d{1,15}|,\d{1,2}(?:\.\d{1,15})?)[NSEW]\b",  # XMP, part 2: GPSCoordinate
        )
    )
)
# What a text must have for one of these to be looked for at all: most have none of it. Looked up as words, or at the
# characters that few texts have, since a search at each digit takes longer than all else.
_SHAPE_WORDS = ("geo:", "loc:", "/maps/", "$G", "°", "º", "˚", "deg", "POINT", "LINESTRING", "POLYGON")
_SHAPED = re.compile(
    r"[-+@=,C-HJ-NP-X](?:(?<=[-+])\d{2,6}(?:\.\d{1,15})?[-+]\d{3}|(?<=\d{4}[-+])\d{1,3}\.\d|(?<=[@=])[-+]?\d{1,3}\.\d"
    r"|(?<=\d,)\d{4}|(?<=[NSEW])\s?\d|(?<=\d[NSEW])|(?<=\d[,\s][NSEW])|(?<=\d,\s[NSEW])"
    r"|(?<=\d[C-HJ-NP-X])\s?[A-Z\d]|(?<=\d\s[C-HJ-NP-X])\s?[A-Z\d]"
    r"|(?<=[2-9CFGHJMPQRVWX]{8}\+))"
)
_HAS_DECIMALS = re.compile(r"\.\d\d\d")
_NAME_PIECES = (
    "gps", "lat", "lng", "lon", "alt", "gdal", "geo", "loc", "count", "region", "ciadr", "iso", "mgrs", "code", "words",
    "city", "prov", "addr", "state", "place", "coord", "elev", "cover", "spatial", "town", "village", "street", "model",
    "profile", "2:", "2#", "position", "home", "takeoff", "foot", "venue", "landmark", "suburb", "poi", "neigh",
    "serial", "imei", "matrix",
)  # fmt: skip
_MEASURED_WORDS = ("gps", "tude", "lat", "lon", "lng")
_DECIMAL = r"[-+−]?\d{1,9}(?:\.\d{1,20})?°?"
_BETWEEN = r"(?:\s{0,3}[,;/|]\s{0,3}|\s{1,3}|%2C|_|\)\s?\()"
_SERIES = re.compile(rf"(?<![\d.]){_DECIMAL}(?:{_BETWEEN}{_DECIMAL})+")
_NUMBER = re.compile(r"(\d+)(?:\.(\d+))?")
# Degrees and minutes as whole numbers, seconds as a fraction: how programs print EXIF's three fractions.
_FRACTIONS = re.compile(
    r"(?<![\d/.,])(\d{1,3})(?:/1)?[, ] ?(\d{1,2})(?:/1)?[, ] ?(\d{1,9})/(\d{1,9})(?![\d/.]|[, ] ?\d)"
)
_PROFILE_WORDS = ("exif", "iptc", "xmp", "app1", "8bim", "generic")
_PROFILE = re.compile(r"(?:^|\s)(?:exif|iptc|xmp|app1|8bim|generic)\s+\d{1,9}\s+[0-9a-f]{16}", re.IGNORECASE)
# Bytes as hexadecimal digits, in lines or not, and as base64: at least as many as a position takes.
_HEXADECIMAL = re.compile(r"(?<![\w+/])(?:[0-9a-fA-F]{2}){8,}(?:\s{1,3}(?:[0-9a-fA-F]{2}){8,})*(?![\w+/])")
_BASE64 = re.compile(
    r"[A-Za-z0-9+/_-]{20,}(?:\s{1,2}[A-Za-z0-9+/_-]{20,})*(?:\s{1,2}[A-Za-z0-9+/_-]{1,76}(?==))?={0,2}"
)
_BLOCK_HEADS = re.compile(rb"\A\x1c\x02|Exif\0|II\*\0|MM\0\*|8BIM")  # IPTC's, EXIF's, TIFF's and Photoshop's blocks

# Within a text: what stands before a value, with the value's name, and the value.
_LINE = r"(?P<name>(?!long\b)[A-Za-z][\w:-]{1,32}(?: [\w-]{1,16})?)\s?[:=]\s?"
_NAMED = tuple(
    (sign, re.compile(before), re.compile(value))
    for sign, before, value in (  # sign: without which a text has none of these
        # A member of a JSON object, an XML element, an XML attribute; what was cut off may have no end.
        (
            '"',
            r"\"(?P<name>[^\"\\\n]{1,64})\"\s?:\s?",
            r"\"(?:[^\"\\]|\\.)*(?:\"|\Z)|\[[^\]]*(?:\]|\Z)|\{(?:[^{}]|\{[^{}]*\})*(?:\}|\Z)",
        ),
        ("<", r"<(?P<name>[\w:.-]{1,64})(?:\s[^<>]{0,256})?>", r"(?:\s{0,64}<rdf:[^<>]{0,128}>){0,3}[^<]+"),
        ("=", r"(?<![\w:.-])(?P<name>[\w:.-]{1,64})\s?=\s?(?=[\"'])", r"\"[^\"]*(?:\"|\Z)|'[^']*(?:'|\Z)"),
        # A line, and a part of one. There, a number is a weight of a prompt: "(ruin, city:1.2)".
        ("", rf"(?:^|\n)\s{{0,8}}{_LINE}", r"\w[^\n]*"),
        ("", rf"[,;]\s{{0,8}}{_LINE}", r"[^\W\d_][^,;\n]*"),
    )
)
_MEASURED = re.compile(
    r"((?:gps|(?<!isospeed)longt?itude|(?<!isospeed)latitude|altitude)[\w.]{0,32}[\"']?(?:\s?[:=>]\s?|\s)[\"'\[({]{0,2}"
    r"|\b(?:geo:)?(?:lat|lon|lng|long)[\"']?\s?[:=>]\s?[\"']?|(?<![a-z])(?:lat|lon|lng)\s?(?=[-+−]?\d{1,3}\.\d\d))"
    r"[-+−]?\d(?:[^,;\n<>\"'&}\])]|,(?=\s?[-+−]?\d)){0,96}",
    re.IGNORECASE,
)


# What a text must have for any of this to be in it, and what can be none of it: a lone number or fraction.
_MAY_TELL = re.compile(r"[\d:=<>\"+$/]|[A-Za-z_-]{16}")
_LONG_RUN = re.compile(r"[\w+/-]{16}", re.ASCII)
_LONE_NUMBER = re.compile(r"[-+]?\d{1,9}(?:[./]\d{1,9})?")


def withhold_places(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings without the places among their values and in their sentences.

    A finding that states nothing and of which nothing is left is left out.
    """
    kept = []
    for finding in findings:
        values = _without_places(finding.values, finding.source, 0)
        if finding.values and finding.says == "nothing" and not _tells(values):
            continue
        kept.append(replace(finding, values=values, detail=mask_places(finding.detail)))
    return kept


def mask_places(text: str) -> str:
    """Return the text with every position in it, and every value that it names a place, replaced by WITHHELD."""
    if not _MAY_TELL.search(text) or _LONE_NUMBER.fullmatch(text):
        return text
    # No more of a text is told, and what follows a shortened beginning must not move up.
    told, rest = text[: 4 * MAX_TEXT], text[4 * MAX_TEXT :]
    masked = _masked(told)
    if masked == told:
        return text
    return masked.ljust(len(told)) + " " * len(rest)


@lru_cache(maxsize=1024)
def names_place(name: str) -> bool:
    """Whether a field of this name holds a place: "exif:GPSLatitude", "drone-dji:GpsLongtitude", "City", "0x8482"."""
    # A prefix counts too, as do the outer names in the path of an XMP structure.
    return bool(_IPTC_DATA_SET.search(name)) or any(map(_is_place, re.split("[:/]", name)))


@lru_cache(maxsize=1024)
def _holds_place(name: str) -> bool:
    return mask_places(name) != name


def _without_places(values: Mapping[str, object], source: str, depth: int) -> dict[str, object]:
    kept: dict[str, object] = {}
    for name, value in values.items():
        if len(kept) > MAX_VALUES:  # no more are told
            break
        is_own = depth == 0 and (source, name) in _OWN_NAMES
        if (names_place(name[:MAX_TEXT]) and not is_own) or _holds_place(name[:MAX_TEXT]):
            continue
        left = _left(value, source, depth + 1)
        if left is not None or value is None:
            kept[name] = left
    return kept


def _left(value: object, source: str, depth: int) -> object:
    """Return what may be told of a value; None where that is nothing."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if isinstance(value, str):
        masked = mask_places(value)
        return None if masked != value and not re.search(r"\w", masked.replace(WITHHELD, "")) else masked
    if depth > MAX_DEPTH or not value:
        return value
    if isinstance(value, Mapping):
        return _without_places(value, source, depth) or None
    if isinstance(value, (list, tuple)):
        if all(isinstance(item, (int, float, str)) for item in value):
            series = ", ".join(map(str, value))
            if _SERIES.fullmatch(series) and mask_places(series) != series:
                return None
        kept = [_left(item, source, depth + 1) for item in value[: MAX_ITEMS + 1]]  # no more are told
        return [left for left, item in zip(kept, value, strict=False) if left is not None or item is None] or None
    return value


def _is_place(name: str) -> bool:
    if re.fullmatch(r"0x[0-9a-fA-F]{1,8}|\d{5}", name):
        return int(name, 0) in _TAGS if name[0] != "0" or "x" in name else False
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)
    joined = "".join(words).lower()
    return joined not in _NOT_PLACES and bool(
        joined in _NAMES or _NAME_WORDS & {word.lower() for word in words} or _NAME_PARTS.search(joined)
    )


def _tells(value: object) -> bool:
    """Whether anything but empty objects and lists is in a value."""
    if isinstance(value, Mapping):
        return any(_tells(member) for member in value.values())
    return bool(value) if isinstance(value, (list, tuple)) else True


def _masked(text: str) -> str:
    if _LONG_RUN.search(text):
        text = _HEXADECIMAL.sub(lambda found: _masked_bytes(found[0], bytes.fromhex(found[0])), text)
        text = _BASE64.sub(lambda found: _masked_bytes(found[0], _from_base64(found[0])), text)
    return _masked_plain(text)


def _masked_bytes(written: str, raw: bytes) -> str:
    if _BLOCK_HEADS.search(raw):
        return WITHHELD
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        if error.start < len(raw) - 3:  # the last character may be cut off
            return written
        text = raw[: error.start].decode()
    return written if _masked_plain(text) == text else WITHHELD


def _from_base64(digits: str) -> bytes:
    digits = "".join(digits.split()).rstrip("=")
    try:
        return base64.b64decode(digits[: len(digits) // 4 * 4], altchars=b"-_" if re.search("[-_]", digits) else None)
    except binascii.Error:
        return b""


def _masked_plain(text: str) -> str:
    lowered = text.lower()
    if any(word in lowered for word in _PROFILE_WORDS) and _PROFILE.search(text):
        return WITHHELD
    if any(word in text for word in _SHAPE_WORDS) or _SHAPED.search(text):
        text = _SHAPES.sub(WITHHELD, text)
    if _HAS_DECIMALS.search(text):
        text = _SERIES.sub(lambda found: WITHHELD if _is_position(found[0]) else found[0], text)
    if "/" in text:
        text = _FRACTIONS.sub(lambda found: WITHHELD if _are_angles(found) else found[0], text)
    if any(word in lowered for word in _NAME_PIECES):
        if any(word in lowered for word in _MEASURED_WORDS):
            text = _MEASURED.sub(rf"\1{WITHHELD}", text)
        for sign, before, value in _NAMED:
            if sign in text:
                text = _mask_named(text, before, value)
    return text


def _mask_named(text: str, before: re.Pattern[str], value: re.Pattern[str]) -> str:
    pieces, done = [], 0
    for named in before.finditer(text):
        if named.start() >= done and names_place(named["name"]) and (found := value.match(text, named.end())):
            pieces += [text[done : named.end()], WITHHELD]
            done = found.end()
    return "".join([*pieces, text[done:]])


def _is_position(series: str) -> bool:
    """Whether two neighbours among numbers are decimal degrees.

    To be told from resolutions, versions, scales and matrices, degrees must have four decimals, or three and ten
    degrees in one of them; in a longer series four and ten degrees.
    """
    numbers = [(float(found[0]), found[2] or "") for found in _NUMBER.finditer(series.replace("%2C", ","))]
    is_long = len(numbers) > 3
    for (first, first_decimals), (second, second_decimals) in pairwise(numbers):
        low, high = sorted((first, second))
        decimals = min(len(first_decimals), len(second_decimals))
        if low > 90 or high > 180 or not (first_decimals + second_decimals).strip("0"):
            continue
        if (decimals >= 4 and high >= (10 if is_long else 1)) or (decimals == 3 and high >= 10 and not is_long):
            return True
    return False


def _are_angles(found: re.Match[str]) -> bool:
    degrees, minutes, seconds, parts = map(int, found.groups())
    return degrees <= 180 and minutes < 60 and parts > 0 and seconds < 60 * parts
