"""A backbone run by torch, from pixels on: the reference for every other way, and the way of a GPU."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from imagetrust.images.views import Preprocessing
from imagetrust.models.backbone import Network

Outputs = tuple[torch.Tensor, torch.Tensor]


class PixelNetwork(nn.Module):
    """A backbone with the normalisation in front: (N, size, size, 3) uint8 to features and embeddings."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: Network, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(preprocessing.std).view(3, 1, 1))

    def forward(self, pixels: torch.Tensor) -> Outputs:
        """Return features and embeddings."""
        images = (pixels.permute(0, 3, 1, 2).to(self.mean.dtype) / 255 - self.mean) / self.std
        features, embeddings = self.network(images)
        return features, embeddings


class TorchRunner:
    """Runs a PixelNetwork in fp32, on any device."""

    name = "torch fp32"

    def __init__(self, network: PixelNetwork, device: torch.device) -> None:
        self.device = device
        self.network = network.eval().to(device)

    @torch.inference_mode()
    def __call__(self, pixels: NDArray[np.uint8]) -> Outputs:
        """Return the float32 features and embeddings of (N, size, size, 3) uint8 pixels, on the device."""
        features, embeddings = self.network(torch.from_numpy(pixels).to(self.device))
        return features, embeddings


class HalfRunner:
    """Runs a PixelNetwork in fp16 on a GPU, channels last, as a CUDA graph for each batch size.

    A graph takes away what launching each small kernel costs, which is most of a small batch's time. Batches are
    padded to the next power of two, so that few graphs are held.
    """

    name = "torch fp16"

    def __init__(self, network: PixelNetwork, device: torch.device) -> None:
        self.device = device
        self.network = network.eval().to(device).half().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, torch.Tensor, Outputs]] = {}

    @torch.inference_mode()
    def __call__(self, pixels: NDArray[np.uint8]) -> Outputs:
        """Return the features and embeddings of (N, size, size, 3) uint8 pixels as float32, on the device."""
        count = len(pixels)
        padded = 1 << (count - 1).bit_length()
        if padded not in self._graphs:
            self._graphs[padded] = self._capture(torch.zeros((padded, *pixels.shape[1:]), dtype=torch.uint8))
        graph, inputs, (features, embeddings) = self._graphs[padded]
        inputs[:count].copy_(torch.from_numpy(pixels), non_blocking=True)
        graph.replay()
        return features[:count].float(), embeddings[:count].float()

    def _capture(self, pixels: torch.Tensor) -> tuple[torch.cuda.CUDAGraph, torch.Tensor, Outputs]:
        inputs = pixels.to(self.device)
        # Before a capture cuDNN must have chosen its kernels, on another stream than the default one.
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(3):
                self.network(inputs)
        torch.cuda.current_stream(self.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self.network(inputs)
        return graph, inputs, outputs
