"""Class activation maps: where in the views of an image the evidence for a class lies.

All methods take the features that have places and the gradients of the class's logit by them, through the backbone's
small part and the head: they are the same for every backbone. Tests hold them against the grad-cam package.
"""

from collections.abc import Callable

import torch

from imagetrust.models.model import Model

_EPSILON = 1e-6  # the package's guard against a division by zero in Grad-CAM++

Map = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _centred_hires_cam(features: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """HiResCAM (Draelos and Carin 2020, arXiv 2011.08891) of the features less their mean over the places.

    To first order, what the logit loses when a place becomes what the view is on average. Where features are averaged
    and then weighed, places rank as by Grad-CAM. Behind attention the gradients differ from place to place, and their
    mean, which Grad-CAM takes, says little; and a layer norm makes the product with the features themselves vanish
    (docs/decisions/040).
    """
    return ((features - features.mean((1, 2), keepdim=True)) * gradients).sum(0)


def _grad_cam(features: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391)."""
    return (gradients.mean((1, 2))[:, None, None] * features).sum(0)


def _grad_cam_plus_plus(features: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Grad-CAM++ (Chattopadhay et al. 2018, arXiv 1710.11063, equation 19): features that occur often weigh less."""
    squares = gradients**2
    shares = squares / (2 * squares + features.sum((1, 2), keepdim=True) * gradients**3 + _EPSILON)
    weights = (torch.where(gradients != 0, shares, 0.0) * gradients.relu()).sum((1, 2))
    return (weights[:, None, None] * features).sum(0)


def _layer_cam(features: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """LayerCAM (Jiang et al. 2021): only what speaks for the class at its place, nothing that speaks against it."""
    return (features * gradients.relu()).sum(0)


def _eigen_cam(features: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """EigenCAM (Muhammad and Yeasin 2020, arXiv 2008.00299): the features' first principal component.

    The same for every class: what the network attends to, whatever it concludes. A principal component has no sign of
    its own; here it is positive where the features are strongest, so that the map is not turned inside out by chance.
    """
    flat = features.flatten(1).T
    centred = flat - flat.mean(0)
    _, _, components = torch.linalg.svd(centred, full_matrices=False)
    projected = centred @ components[0]
    strongest = projected[flat.sum(1).argmax()]
    signed: torch.Tensor = projected if strongest >= 0 else -projected
    return signed.reshape(features.shape[1:])


METHODS: dict[str, Map] = {
    "centred-hirescam": _centred_hires_cam,
    "gradcam": _grad_cam,
    "gradcam++": _grad_cam_plus_plus,
    "layercam": _layer_cam,
    "eigencam": _eigen_cam,
}


def class_activation(
    method: str, model: Model, features: torch.Tensor, task: str, class_name: str
) -> list[torch.Tensor]:
    """Return the map (rows, columns) of a class for each view by a method of METHODS: what speaks for it, not scaled.

    features: of the views, (views, ...), as an engine gives them.
    """
    class_index = model.config.heads[task].classes.index(class_name)
    with torch.inference_mode(False), torch.enable_grad():
        leaf = features.clone().requires_grad_()
        logits = model.heads[task](model.pool(leaf))
        (gradients,) = torch.autograd.grad(logits[:, class_index].sum(), leaf)
        places = zip(model.backbone.grid(leaf.detach()), model.backbone.grid(gradients), strict=True)
        return [METHODS[method](seen, gradient).relu().cpu() for seen, gradient in places]
