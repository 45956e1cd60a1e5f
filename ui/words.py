"""What the screens say in words. Whatever is shown by colour or place is a sentence here, too."""

from dataclasses import dataclass

from imagetrust.client import Authenticity, ClientError, Explanation
from imagetrust.client.answers import Finding, Heatmap
from imagetrust.limits import MAX_BYTES

NAME = "ImageTrust"
PROMISE = "A second opinion on whether people and cameras made a picture, or a machine."
KEPT = "Pictures are sent to the operator's server for the answer and are not kept."

VERDICTS = {
    "real": "Likely made by people and cameras",
    "uncertain": "Undecided: the pixels do not tell",
    "generated": "Likely made by a machine",
}
SHORT_VERDICTS = {"real": "people and cameras", "uncertain": "undecided", "generated": "a machine"}
FAMILIES = {
    "real": ("People and cameras", "no generative model"),
    "gan": ("GAN", "such as StyleGAN"),
    "diffusion": ("Diffusion model", "such as Stable Diffusion"),
    "other": ("Other machine", "token models, renders and the like"),
}
SOURCES = {
    "c2pa": "Content Credentials",
    "aigc_label": "Label of generated content (GB 45438)",
    "generation_parameters": "Parameters of a generator",
    "exif": "EXIF",
    "xmp": "XMP",
    "iptc": "IPTC",
    "png_text": "Texts of the PNG",
    "jpeg_comment": "Comment of the JPEG",
    "samsung_trailer": "Records of a Samsung phone",
    "icc": "Colour profile",
    "thumbnail": "Embedded thumbnail",
    "jpeg_quantisation": "Compression tables",
    "dimensions": "Size of the picture",
}
SAYS = {
    "generated": "made by a generative model",
    "edited_with_ai": "partly made by a generative model",
    "possibly_generated": "possibly made by a generative model",
    "camera": "taken by a camera",
    "software": "made or saved by a program",
    "nothing": "no statement on the origin",
}
STRENGTHS = {
    "signed_valid": "signature holds, signer trusted",
    "signed_untrusted": "signature holds, signer not known",
    "signed_broken": "signature broken",
    "unsigned": "not signed",
}
LIMITS = (
    "It is an estimate from pixels, not a proof. The thresholds keep most errors out; some remain.",
    "Small generated parts, retouching and filled-in areas can escape it, and so can a photograph of a screen.",
    "Art and portraits by people are more often mistaken than other pictures.",
    "It judges how a picture was made, not whether what it shows is true or shown in its right context.",
    "Someone with the model can change a picture invisibly so that the verdict flips.",
    "The heat map shows where the model looked. It proves no manipulation at that place.",
    "A file without declarations proves nothing: most services remove them. Without a signature anyone can write them.",
)


def percent(probability: float) -> str:
    """Return a probability as a person reads it; never 0 % or 100 %, which a model cannot know."""
    if probability < 0.01:
        return "under 1 %"
    if probability > 0.99:
        return "over 99 %"
    return f"{probability * 100:.0f} %"


def threshold(probability: float) -> str:
    """Return where the verdict changes as it is set: of 96.5 % a rounded one would contradict some verdicts."""
    return f"{probability * 100:.4g} %"


def scale(answer: Authenticity) -> str:
    """Return what the scale of the probability shows."""
    low, high = answer.thresholds.real, answer.thresholds.generated
    return (
        f"The model gives {percent(answer.probability_generated)} that a machine made this picture. "
        f"Up to {threshold(low)} it says people and cameras, from {threshold(high)} a machine; "
        "between them it does not decide."
    )


def family(name: str) -> str:
    """Return a family of generators in words."""
    return FAMILIES.get(name, (name, ""))[0]


def source(finding: Finding) -> str:
    """Return where in the file a finding stands."""
    return SOURCES.get(finding.source, finding.source)


def declares(answer: Explanation) -> str:
    """Return in a few words what the file declares, the signed before the unsigned."""
    order = list(STRENGTHS)
    telling = [finding for finding in answer.declared.findings if finding.says != "nothing"]
    if not telling:
        return "nothing"
    first = min(telling, key=lambda finding: order.index(finding.strength) if finding.strength in order else len(order))
    return f"{SAYS.get(first.says, first.says)} ({STRENGTHS.get(first.strength, first.strength)})"


def region(heatmap: Heatmap, number: int) -> str:
    """Return one region of a heat map in words. number: from 0."""
    box = heatmap.regions[number]
    return (
        f"{place(heatmap, number)}: {percent(box.share)} of the area, mean heat {percent(box.heat)} "
        f"({box.left}, {box.top} to {box.right}, {box.bottom} pixels)"
    )


def place(heatmap: Heatmap, number: int) -> str:
    """Return in which of nine parts of the picture the middle of a region lies."""
    box, view = heatmap.regions[number], heatmap.view
    across = ((box.left + box.right) / 2 - view.left) / (view.right - view.left)
    down = ((box.top + box.bottom) / 2 - view.top) / (view.bottom - view.top)
    row, column = ("Top", "Middle", "Bottom")[_third(down)], ("left", "centre", "right")[_third(across)]
    return "Centre" if (row, column) == ("Middle", "centre") else f"{row} {column}"


def _third(part: float) -> int:
    return min(2, max(0, int(part * 3)))


def size(byte_count: int) -> str:
    """Return a file's size."""
    return f"{byte_count / 1e6:.1f} MB" if byte_count >= 1e6 else f"{byte_count / 1e3:.0f} kB"


@dataclass(frozen=True)
class Fault:
    """Why a picture has no answer. title: what happened. advice: what helps."""

    title: str
    advice: str


_BUSY = Fault("The server is busy", "It has more pictures than it can answer now. Try again in a few seconds.")
_DOWN = Fault(
    "The server does not answer",
    "It may be stopped or starting. Try again in a minute; the operator starts it with “make serve”.",
)
_SLOW = Fault("The server took too long", "Try again; a smaller copy of the picture is faster.")
_TOKEN = Fault(
    "The server refused this screen's token",
    "Nothing is wrong with the picture. Tokens last a day: the operator gives this screen the current one.",
)
_UNEXPECTED = Fault("The server failed", "Try again. If it happens again, tell the operator the request's number.")
_TOO_LARGE = Fault(
    "The file is too large",
    f"A picture has at most {MAX_BYTES // 2**20} MiB. Send a smaller copy, as JPEG for example.",
)
_ADDRESS = "The address of a picture looks like https://example.com/photo.jpg."
FAULTS = {
    "unreachable": _DOWN,
    "connection_lost": _DOWN,
    "not_ready": _DOWN,
    "timed_out": _SLOW,
    "untrusted_certificate": Fault(
        "The server cannot prove who it is", "Its certificate is not trusted here: tell the operator."
    ),
    "unauthorized": _TOKEN,
    "no_token": Fault(
        "This screen has no token",
        "It reads one from the server's folder: is the server running? The operator can name another.",
    ),
    "busy": _BUSY,
    "unavailable": _BUSY,
    "too_many_requests": _BUSY,
    "too_many_bytes": _TOO_LARGE,
    "empty_body": Fault("The file is empty", "Choose another one; the copy may have failed."),
    "unknown_format": Fault(
        "This is not a picture that can be read", "Readable are JPEG, PNG, WebP, AVIF, HEIC, TIFF, GIF and BMP."
    ),
    "unsupported_format": Fault("This kind of picture is not supported", "Save it as JPEG or PNG and send that."),
    "broken_picture": Fault(
        "The picture is damaged", "A part of the file is missing or wrong. Copy or download it again."
    ),
    "too_small": Fault("The picture is too small", "Each side needs at least 32 pixels."),
    "too_many_pixels": Fault("The picture has too many pixels", "Send a smaller copy."),
    "not_https": Fault("Only https addresses are fetched", _ADDRESS),
    "no_address": Fault("This is not an address", _ADDRESS),
    "unknown_host": Fault("There is no such host", "Check the address for typing errors."),
    "not_public": Fault(
        "This address is not on the public web", "Addresses inside a network are never fetched. Send the file instead."
    ),
    "not_fetched": Fault(
        "The picture could not be fetched", "The site may refuse programs. Save the picture and send the file."
    ),
    "slow_site": Fault("The site took too long", "Save the picture and send the file instead."),
}


def fault(code: str, message: str) -> Fault:
    """Return what to say of an error, by its code; the server's own words where they tell more."""
    known = FAULTS.get(code)
    if known is None:
        return Fault(_UNEXPECTED.title, f"{_UNEXPECTED.advice} It said: {message}")
    if code in ("unsupported_format", "too_many_pixels", "too_small", "not_fetched"):
        return Fault(known.title, f"{message.rstrip('.')}. {known.advice}")
    return known


def fault_of(error: ClientError) -> Fault:
    """Return what to say where the client had no answer."""
    told = fault(error.code, error.message)
    if error.retry_after:
        return Fault(told.title, f"{told.advice} The server asks to wait {error.retry_after:.0f} s.")
    return told
