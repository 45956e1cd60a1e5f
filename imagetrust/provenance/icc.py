"""The description of the ICC colour profile."""

import io

from PIL import ImageCms

from imagetrust.provenance.bounds import MAX_ICC_BYTES, check_size
from imagetrust.provenance.finding import NOTHING, Finding, Reading
from imagetrust.provenance.opened_file import OpenedFile


def read_icc(file: OpenedFile) -> Reading:
    """One finding with the profile's description, maker and size. Raises ImageCms.PyCMSError on a broken one."""
    profile = file.header.info.get("icc_profile")
    if not profile:
        return NOTHING
    check_size(len(profile), MAX_ICC_BYTES)
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    values: dict[str, object] = {"bytes": len(profile)}
    for name, read in (
        ("description", ImageCms.getProfileDescription),
        ("manufacturer", ImageCms.getProfileManufacturer),
        ("copyright", ImageCms.getProfileCopyright),
    ):
        if text := read(opened).strip():
            values[name] = text
    detail = f"The colour profile is {values.get('description', 'without a description')}."
    return Reading((Finding("icc", "nothing", detail, values),))
