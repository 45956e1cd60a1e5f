"""Free texts: the text chunks of a PNG and the comments of a JPEG or GIF."""

from imagetrust.provenance.characters import decode_text
from imagetrust.provenance.finding import NOTHING, Finding, Reading, Says
from imagetrust.provenance.opened_file import OpenedFile
from imagetrust.provenance.vocabulary import generator_named

_PROGRAM_FIELDS = ("Software", "Creation Software", "Source", "Author")


def read_png_text(file: OpenedFile) -> Reading:
    """One finding with the texts by keyword, those after the pixels included."""
    texts = file.png_texts.plain()
    faults = file.png_texts.faults
    if not texts:
        return Reading(faults=faults)
    programs = " ".join(texts[field] for field in _PROGRAM_FIELDS if field in texts)
    if generator := generator_named(programs):
        finding = Finding("png_text", "generated", f"The PNG's texts name {generator}, a generator of pictures.", texts)
    elif "Software" in texts:
        finding = Finding("png_text", "software", f"The PNG's texts name the software {texts['Software']}.", texts)
    else:
        finding = Finding("png_text", "nothing", f"The PNG carries texts under {', '.join(texts)}.", texts)
    return Reading((finding,), {f"png_text:{keyword}": text for keyword, text in texts.items()}, faults)


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
    return (decode_text(comment) if isinstance(comment, bytes) else str(comment)).strip("\0 \r\n\t")
