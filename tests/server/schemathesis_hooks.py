"""What Schemathesis sends for pictures: small ones that the server reads, in the formats of the description."""

import base64
import io

import schemathesis
from hypothesis import strategies
from PIL import Image

FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP", "image/avif": "AVIF", "image/tiff": "TIFF",
           "image/gif": "GIF", "image/bmp": "BMP"}  # fmt: skip


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(buffer, kind)
    return buffer.getvalue()


PICTURES = {kind: encoded(kind) for kind in FORMATS.values()}
any_picture = strategies.sampled_from(list(PICTURES.values()))

schemathesis.openapi.format("binary", any_picture)
schemathesis.openapi.format("byte", any_picture.map(lambda data: base64.b64encode(data).decode()))
for media_type in [*FORMATS, "image/heic", "image/heif", "application/octet-stream"]:
    kind = FORMATS.get(media_type)
    schemathesis.openapi.media_type(media_type, strategies.just(PICTURES[kind]) if kind else any_picture)
