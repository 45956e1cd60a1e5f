"""Held-out groups: what is left out of training, to measure a model on generators and real images it has never seen.

A group holds whole generators of one kind, or whole sources of real images; or the generated, or the real, images of a
random fifth of the repositories that the sources come from. Patterns fit artifact_mini and the full
ArtiFact alike; what a data set lacks is simply not there.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from training.data import Record
from training.sources import REAL

FOLDS = 5


def fold_of(record: Record) -> int:
    """Return the fold of an image's repository: what one maker put into the data stays together."""
    digest = hashlib.sha256(record.maker.encode()).digest()
    return int.from_bytes(digest[:8], "big") % FOLDS


@dataclass(frozen=True)
class Group:
    """One protocol of leaving out.

    tested: matches the generators (or, for real images, the sources) whose images are scored.
    kept: where given, the only generators that are trained on; otherwise all that are not tested.
    fold: where given, the images of that fold alone.
    """

    name: str
    reason: str
    tested: str
    is_real: bool = False
    kept: str | None = None
    fold: int | None = None

    def is_tested(self, record: Record) -> bool:
        """Return whether the record is one that the model must not have seen and is scored on."""
        if self.is_real != (record.family == REAL) or self.fold not in (None, fold_of(record)):
            return False
        return re.search(self.tested, record.source if self.is_real else record.generator) is not None

    def is_left_out(self, record: Record) -> bool:
        """Return whether training and calibration must not see the record."""
        if self.kept is not None and record.family != REAL:
            return re.search(self.kept, record.generator) is None
        return self.is_tested(record)


GROUPS = {
    group.name: group
    for group in (
        Group("style_gan", "GANs: every StyleGAN, mostly faces", r"^stylegan|^r3gan"),
        Group("translation_gan", "GANs that translate images", r"^(cyclegan|cycle_gan|pix2pix|star_gan|gau_gan)"),
        Group(
            "new_diffusion",
            "diffusion: the newer and the vendors' models, with older Stable Diffusion kept",
            r"stable_diffusion_3|sdxl|midjourney|dalle_2|pixart|kandinsky|glide|latent_diffusion",
        ),
        Group("tuned_diffusion", "diffusion: fine-tunes and version 2", r"deliberate|stable_diffusion_2_x|_rl$"),
        Group("renders", "other: engines and ray tracers", r"carla|unity|blender|clevr|face_?synthetics"),
        Group("tokens", "other: what draws token by token", r"vqgan|dalle-mini|minDALL|gpt|infinity|muse|taming|wombo"),
        Group(
            "published",
            "ArtiFact's (arXiv 2302.11970): Stable Diffusion, StyleGAN2, DDPM seen; GLIDE, Latent Diffusion not",
            r"^(glide|latent_diffusion)$",
            kept=r"^(stable_diffusion|stylegan2|ddpm)$",
        ),
        Group("real_a", "real images: portraits, groceries, outdoors", r"unsplash|grocery|bsds|ffhq", True),
        Group("real_b", "real images: ImageNet, clothes, faces", r"imagenet|clothing|ciplab|dicm", True),
        *(
            Group(f"fold_{fold}_{kind}", f"{kind}: a fifth of the repositories", "", kind == "real", fold=fold)
            for fold in range(FOLDS)
            for kind in ("generated", "real")
        ),
    )
}  # fmt: skip

# What one training leaves out together: three groups by kind at once, each a bit harder for it, or one fold.
RUNS = (
    ("translation_gan", "new_diffusion", "real_a"),
    ("style_gan", "tokens", "real_b"),
    ("tuned_diffusion", "renders"),
    ("published",),
    *((f"fold_{fold}_generated", f"fold_{fold}_real") for fold in range(FOLDS)),
)


def without(records: list[Record], names: Iterable[str]) -> list[Record]:
    """Return the records that training and calibration may see when these groups are held out."""
    held_out = [GROUPS[name] for name in names]
    return [record for record in records if not any(group.is_left_out(record) for group in held_out)]
