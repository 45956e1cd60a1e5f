"""What one source in a file says of the image's origin."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# signed_valid: Content Credentials, intact, by a signer on the operator's trust list.
# signed_untrusted: intact, but nothing vouches for the signer (on no list, expired or revoked certificate).
# signed_broken: the image, a statement in them or the signature was changed after signing.
# unsigned: text that anyone can write, change or remove.
Strength = Literal["signed_valid", "signed_untrusted", "signed_broken", "unsigned"]

# generated: all of the image comes from a generative model; edited_with_ai: a part of it does.
# camera: a camera or scanner took it; software: a program made or saved it, with no word of a generative model.
# nothing: no statement on the origin.
Says = Literal["generated", "edited_with_ai", "camera", "software", "nothing"]


@dataclass(frozen=True)
class Finding:
    """One source and what it says.

    source: where in the file: exif, xmp, iptc, icc, png_text, jpeg_comment, samsung_trailer, generation_parameters,
        c2pa, jpeg_quantisation, thumbnail or dimensions.
    detail: one sentence for a person.
    values: what the sentence rests on; bounded only when it is answered.
    """

    source: str
    says: Says
    detail: str
    values: Mapping[str, object] = field(default_factory=dict)
    strength: Strength = "unsigned"


@dataclass(frozen=True)
class Reading:
    """What one source yields: its findings, and the raw texts in which other readers look further.

    texts: by where they stand, such as "png_text:parameters" or "exif:UserComment".
    faults: what of the source is there and could not be read, one sentence each without a full stop.
    """

    findings: tuple[Finding, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


NOTHING = Reading()
