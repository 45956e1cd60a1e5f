"""A backbone of one convolution: the protocols take every backbone alike, and this one costs nothing."""

from torch import nn

from imagetrust.models.backbone import AveragePool, Backbone

TINY = Backbone(
    name="tiny",
    features=lambda _: nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.ReLU()),
    pool=AveragePool,
    layout="grid",
    channels=8,
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    input_size=64,
    stride=8,
    source="none: random weights",
)
