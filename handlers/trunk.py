"""A network's trunk run by torch: from pixels to what the last convolutions see. The reference for every other way."""

import numpy as np
import torch

from handlers.card import Preprocessing


class PixelTrunk(torch.nn.Module):
    """The trunk with the normalisation in front: (N, size, size, 3) uint8 in, (N, C, size / 32, size / 32) out."""

    def __init__(self, trunk: torch.nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.trunk = trunk
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(preprocessing.std).view(3, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.trunk((pixels.permute(0, 3, 1, 2).to(self.mean.dtype) / 255 - self.mean) / self.std)


class TorchTrunk:
    """Runs a PixelTrunk in fp32, on any device."""

    def __init__(self, network: PixelTrunk, device: torch.device) -> None:
        self.device = device
        self.network = network.eval().to(device)

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> torch.Tensor:
        """(N, size, size, 3) uint8 to float32 features on the device."""
        return self.network(torch.from_numpy(pixels).to(self.device))


class HalfTrunk:
    """Runs a PixelTrunk in fp16 on a GPU, channels last, as a CUDA graph for each batch size.

    A graph takes away what launching each small kernel costs, which is most of a small batch's time. Batches are
    padded to the next power of two, so that few graphs are held.
    """

    def __init__(self, network: PixelTrunk, device: torch.device) -> None:
        self.device = device
        self.network = network.eval().to(device).half().to(memory_format=torch.channels_last)
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, torch.Tensor, torch.Tensor]] = {}

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> torch.Tensor:
        """(N, size, size, 3) uint8 to float32 features on the device."""
        count = len(pixels)
        padded = 1 << (count - 1).bit_length()
        if padded not in self._graphs:
            self._graphs[padded] = self._capture(torch.zeros((padded, *pixels.shape[1:]), dtype=torch.uint8))
        graph, inputs, outputs = self._graphs[padded]
        inputs[:count].copy_(torch.from_numpy(pixels), non_blocking=True)
        graph.replay()
        return outputs[:count].float()

    def _capture(self, pixels: torch.Tensor) -> tuple["torch.cuda.CUDAGraph", torch.Tensor, torch.Tensor]:
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
