"""Where in a picture the evidence for a class lies: class activation maps of a network that ends in global average
pooling and one linear layer.

There the gradient of a class's logit by a feature is weight / (rows * columns) at every place, so each map below has
a closed form and costs no backward pass. Tests prove them equal to the grad-cam package's maps of the same names.

All take the features (channels, rows, columns) before the pooling and the class's weights (channels,), and return
(rows, columns), not scaled.
"""

from collections.abc import Callable

import numpy as np
import torch

_EPSILON = 1e-6  # the package's guard against a division by zero in Grad-CAM++


def grad_cam(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391)."""
    return torch.einsum("c,crk->rk", weights, features)


def grad_cam_plus_plus(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Grad-CAM++ (Chattopadhay et al. 2018, arXiv 1710.11063, equation 19): features that occur often weigh less."""
    places = features.shape[1] * features.shape[2]
    gradient = weights / places
    share = gradient**2 / (2 * gradient**2 + features.sum((1, 2)) * gradient**3 + _EPSILON)
    return grad_cam(features, places * gradient.relu() * share)


def layer_cam(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """LayerCAM (Jiang et al. 2021): only what speaks for the class, nothing that speaks against it."""
    return grad_cam(features, weights.relu())


def eigen_cam(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """EigenCAM (Muhammad and Yeasin 2020, arXiv 2008.00299): the features' first principal component.

    The same for every class: what the network attends to, whatever it concludes. `weights` is not used. A principal
    component has no sign of its own; here it is positive where the features are strongest, so that the map is not
    turned inside out by chance, as the package's may be.
    """
    flat = features.flatten(1).T
    centred = flat - flat.mean(0)
    _, _, components = torch.linalg.svd(centred, full_matrices=False)
    projected = centred @ components[0]
    strongest = projected[flat.sum(1).argmax()]
    return (projected if strongest >= 0 else -projected).reshape(features.shape[1:])


METHODS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "gradcam": grad_cam,
    "gradcam++": grad_cam_plus_plus,
    "layercam": layer_cam,
    "eigencam": eigen_cam,
}


def heat(method: str, features: torch.Tensor, head: torch.nn.Linear, class_index: int) -> np.ndarray:
    """The map of a class by a method of METHODS, as (rows, columns) float32 in 0..1.

    Scaled as the grad-cam package does; a map without positive evidence is all zero.
    """
    drawn = METHODS[method](features, head.weight[class_index].detach()).relu()
    drawn = drawn - drawn.min()
    return (drawn / (drawn.max() + 1e-7)).float().cpu().numpy()
