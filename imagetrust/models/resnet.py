"""ResNet18 (He et al. 2015, arXiv 1512.03385)."""

from imagetrust.models.backbone import AveragePool, Backbone, Weights, import_torchvision, timm_model


def _imagenet() -> Weights:
    import_torchvision()
    from torchvision.models import ResNet18_Weights

    weights = ResNet18_Weights.IMAGENET1K_V1.get_state_dict(progress=True)
    return {f"features.{name}": tensor for name, tensor in weights.items() if not name.startswith("fc.")}


BACKBONE = Backbone(
    name="resnet18",
    features=lambda _: timm_model("resnet18", global_pool=""),
    pool=AveragePool,
    layout="grid",
    channels=512,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    input_size=224,
    stride=32,
    source="torchvision's ImageNet-1k weights (BSD-3-Clause), downloaded once",
    pretrained=_imagenet,
)
