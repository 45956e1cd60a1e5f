"""Every backbone by its name. To add one: its file, and its line here."""

from imagetrust.models import efficientnet_lite, resnet, vit
from imagetrust.models.backbone import Backbone

BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        efficientnet_lite.BACKBONE,
        resnet.BACKBONE,
        vit.BACKBONE,
    )
}


def backbone_of(name: str) -> Backbone:
    """Return a registered backbone. Raises ValueError, naming those that there are, for another name."""
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}; this code runs {', '.join(BACKBONES)}")
    return BACKBONES[name]
