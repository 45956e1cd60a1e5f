"""Free texts: the text chunks of a PNG and the comments of a JPEG or GIF."""

import io
from itertools import islice

from PIL import PngImagePlugin

from imagetrust.provenance.bounds import MAX_TEXT_CHUNKS
from imagetrust.provenance.finding import NOTHING, Finding, Reading, Says
from imagetrust.provenance.opened_file import OpenedFile
from imagetrust.provenance.statements import state

_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
_XMP = "XML:com.adobe.xmp"


def read_png_text(file: OpenedFile) -> Reading:
    """One finding with the texts by keyword, those after the pixels included.

    Raises ValueError where they exceed what Pillow unpacks, SyntaxError where a chunk is broken.
    """
    # Pillow's stream of chunks rather than PngImageFile.text, which would decode the pixels again.
    content = io.BytesIO(file.data)
    stream = PngImagePlugin.PngStream(content)
    text_chunks = (chunk for chunk in file.png_chunks() if chunk[0] in _TEXT_CHUNKS)
    for kind, position, length in islice(text_chunks, MAX_TEXT_CHUNKS):
        content.seek(position)
        stream.call(kind, position, length)
    texts = {str(keyword): str(text) for keyword, text in stream.im_text.items() if keyword != _XMP}
    if not texts:
        return NOTHING
    statement = state("png_text", texts, f"The PNG carries texts under {', '.join(texts)}.")
    return Reading(
        (statement.finding("png_text", texts),), {f"png_text:{keyword}": text for keyword, text in texts.items()}
    )


def read_comments(file: OpenedFile) -> Reading:
    """One finding with all comments."""
    found = file.jpeg_segments("COM") or [file.header.info.get("comment", b"")]
    comments = [text for comment in found if (text := _decoded(comment))]
    if not comments:
        return NOTHING
    # What libraries sign with, such as "CREATOR: gd-jpeg v1.0", "Lavc58.134.100", "Created with GIMP".
    is_signature = any(word in comments[0].lower() for word in ("creator", "created with", "lavc", "software"))
    detail = f"The file's comment is: {comments[0]}"
    says: Says = "software" if is_signature else "nothing"
    return Reading((Finding("jpeg_comment", says, detail, {"comments": comments}),), {"jpeg_comment:": comments[0]})


def _decoded(comment: object) -> str:
    text = str(comment)
    if isinstance(comment, bytes):
        try:
            text = comment.decode("utf-8")
        except UnicodeDecodeError:
            text = comment.decode("latin-1")
    return text.strip("\0 \r\n\t")
