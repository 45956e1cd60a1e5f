"""CutMix (Yun et al. 2019, arXiv 1905.04899): a piece of another picture is pasted in, and the labels share by area.

What a picture shows then tells less of its label than what its pixels are like, everywhere in it.
"""

import torch


def paste_pieces(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pastes into each picture a rectangle, from the same place, of another picture of the batch.

    pictures: (N, 3, H, W). Returns the mixed pictures, in the same memory format; (N,) the index of the picture that
    each piece came from; and (N,) the share of each picture's area that stayed its own, uniform in 0..1 but for what
    the picture's borders cut off a rectangle.
    """
    count, _, height, width = pictures.shape
    device = pictures.device
    partners = torch.randperm(count, device=device)
    half_side = (1 - torch.rand(count, device=device)).sqrt() / 2  # as a share of the picture's
    middle = torch.rand(2, count, device=device)
    rows = (torch.arange(height, device=device) + 0.5) / height
    columns = (torch.arange(width, device=device) + 0.5) / width
    in_rows = (rows - middle[0, :, None]).abs() < half_side[:, None]
    in_columns = (columns - middle[1, :, None]).abs() < half_side[:, None]
    pasted = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    own_shares = 1 - pasted.float().mean(dim=(1, 2, 3))
    return torch.where(pasted, pictures[partners], pictures), partners, own_shares
