"""Free texts: the text chunks of a PNG and the comments of a JPEG or GIF."""

from dataclasses import replace

from imagetrust.provenance.bounds import MAX_ITEMS
from imagetrust.provenance.characters import decode_text
from imagetrust.provenance.finding import NOTHING, Reading
from imagetrust.provenance.opened_file import OpenedFile
from imagetrust.provenance.statements import state


def read_png_text(file: OpenedFile) -> Reading:
    """One finding with the texts by keyword, those after the pixels included."""
    texts = file.png_texts.plain()
    faults = file.png_texts.faults
    if not texts:
        return Reading(faults=faults)
    statement = state("png_text", texts, f"The PNG carries texts under {', '.join(texts)}.")
    places = {f"png_text:{keyword}": text for keyword, text in texts.items()}
    return Reading((statement.finding("png_text", texts),), places, faults)


def read_comments(file: OpenedFile) -> Reading:
    """One finding with all comments."""
    found = file.jpeg_segments("COM") or [file.header.info.get("comment", b"")]
    comments = [text for comment in found if (text := _decoded(comment))]
    if not comments:
        return NOTHING
    values = {"comments": comments}
    statement = state("jpeg_comment", values, f"The file's comment is: {comments[0]}")
    # What libraries sign with, such as "CREATOR: gd-jpeg v1.0", "Lavc58.134.100", "Created with GIMP".
    is_signature = any(word in comments[0].lower() for word in ("creator", "created with", "lavc", "software"))
    if statement.says == "nothing" and is_signature:
        statement = replace(statement, says="software")
    places = {f"jpeg_comment:{number or ''}": text for number, text in enumerate(comments[:MAX_ITEMS])}
    return Reading((statement.finding("jpeg_comment", values),), places)


def _decoded(comment: object) -> str:
    return (decode_text(comment) if isinstance(comment, bytes) else str(comment)).strip("\0 \r\n\t")
