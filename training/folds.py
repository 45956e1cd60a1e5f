"""What is left out of training, to measure what a model does with generators and photographs it has never seen.

A fold leaves out whole generators of one kind, or whole sources of photographs. Patterns fit artifact_mini and the
full ArtiFact alike; what a data set lacks is simply not there.
"""

import re
from dataclasses import dataclass

from training.data import Record
from training.sources import REAL


@dataclass(frozen=True)
class Fold:
    """One protocol of leaving out.

    tested: matches the generators (or, for photographs, the sources) whose pictures are scored.
    kept: where given, the only generators that are trained on; otherwise all that are not tested.
    """

    name: str
    reason: str
    tested: str
    photographs: bool = False
    kept: str | None = None

    def is_tested(self, record: Record) -> bool:
        """Whether the record is one of those that the model must not have seen and is scored on."""
        if self.photographs != (record.family == REAL):
            return False
        return re.search(self.tested, record.source if self.photographs else record.generator) is not None

    def is_left_out(self, record: Record) -> bool:
        """Whether training and calibration must not see the record."""
        if self.kept is not None and record.family != REAL:
            return re.search(self.kept, record.generator) is None
        return self.is_tested(record)


FOLDS = {
    fold.name: fold
    for fold in (
        Fold("style_gan", "GANs: every StyleGAN, mostly faces", r"^stylegan|^r3gan"),
        Fold("translation_gan", "GANs that translate pictures", r"^(cyclegan|cycle_gan|pix2pix|star_gan|gau_gan)"),
        Fold(
            "new_diffusion",
            "diffusion: the newer and the vendors' models, with older Stable Diffusion kept",
            r"stable_diffusion_3|sdxl|midjourney|dalle_2|pixart|kandinsky|glide|latent_diffusion",
        ),
        Fold("tuned_diffusion", "diffusion: fine-tunes and version 2", r"deliberate|stable_diffusion_2_x|_rl$"),
        Fold("renders", "other: engines and ray tracers", r"carla|unity|blender|clevr|face_?synthetics"),
        Fold("tokens", "other: what draws token by token", r"vqgan|dalle-mini|minDALL|gpt|infinity|muse|taming|wombo"),
        Fold(
            "published",
            "ArtiFact's (arXiv 2302.11970): Stable Diffusion, StyleGAN2, DDPM seen; GLIDE, Latent Diffusion not",
            r"^(glide|latent_diffusion)$",
            kept=r"^(stable_diffusion|stylegan2|ddpm)$",
        ),
        Fold("photographs_a", "photographs: portraits, groceries, outdoors", r"unsplash|grocery|bsds|ffhq", True),
        Fold("photographs_b", "photographs: ImageNet, clothes, faces", r"imagenet|clothing|ciplab|dicm", True),
    )
}  # fmt: skip

# What one training leaves out together: every fold is measured by a third of the trainings, each a bit harder.
ROUNDS = (
    ("translation_gan", "new_diffusion", "photographs_a"),
    ("style_gan", "tokens", "photographs_b"),
    ("tuned_diffusion", "renders"),
    ("published",),
)
