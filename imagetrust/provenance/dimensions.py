"""Whether an image has the size that generators make. Weak: anyone may scale or crop to these sizes."""

from imagetrust.provenance.finding import NOTHING, Finding, Reading
from imagetrust.provenance.opened_file import OpenedFile

# Longer side first; both orientations are meant.
_SIZES: dict[str, set[tuple[int, int]]] = {
    # The training sizes of the model cards (CompVis/stable-diffusion, stabilityai/stable-diffusion-2).
    "Stable Diffusion 1 and 2": {(512, 512), (768, 512), (768, 768)},
    # Podell et al. 2023, arXiv 2307.01952, appendix I: the buckets near one megapixel that tools offer.
    "Stable Diffusion XL": {
        (1024, 1024), (1088, 960), (1088, 896), (1152, 896), (1152, 832), (1216, 832), (1280, 768), (1344, 768),
        (1344, 704), (1408, 704), (1472, 704), (1536, 640), (1600, 640), (1664, 576), (1728, 576),
    },
    # OpenAI's API reference, "Create image", parameter size.
    "DALL-E and GPT Image": {(512, 512), (1024, 1024), (1792, 1024), (1536, 1024)},
    # Google's Vertex AI reference, Imagen 3 and 4, aspect ratios.
    "Imagen": {(1024, 1024), (1280, 896), (1408, 768)},
    # Midjourney's documentation, "Aspect ratio": what versions 5 and 6 make before upscaling.
    "Midjourney": {(1024, 1024), (1232, 928), (1344, 896), (1456, 816)},
    # Karras et al. 2019, arXiv 1812.04948: the sizes of the published networks.
    "StyleGAN": {(512, 512), (1024, 1024)},
}  # fmt: skip


def read_dimensions(file: OpenedFile) -> Reading:
    """Return a finding that says nothing by itself where the upright image has one of these sizes."""
    width, height = file.decoded.size
    size = (max(width, height), min(width, height))
    makers = [maker for maker, sizes in _SIZES.items() if size in sizes]
    if not makers:
        return NOTHING
    detail = f"{width} x {height} is a size that {', '.join(makers)} make; weak, since pictures are often cut to it."
    return Reading((Finding("dimensions", "nothing", detail, {"width": width, "height": height, "makers": makers}),))
