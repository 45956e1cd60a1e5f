"""Plain FastAPI: open, transform and infer inside one handler."""

import os
from pathlib import Path

import torch
from fastapi import FastAPI, UploadFile
from PIL import Image
from pillow_heif import register_heif_opener

from benchmarks.servers.eager import EagerNetwork, answer_of, transform

FOLDER = Path(os.environ["BENCHMARK_MODEL"])
register_heif_opener()
app = FastAPI()
device = "cuda" if torch.cuda.is_available() else "cpu"
network = EagerNetwork(FOLDER).to(device)
to_views = transform(FOLDER)


@app.get("/health")
async def health() -> dict[str, str]:
    """Answer once the network is loaded."""
    return {"status": "healthy"}


@app.post("/predict")
async def predict(file: UploadFile) -> dict[str, float]:
    """Return the probability of each class."""
    views = to_views(Image.open(file.file).convert("RGB"))
    with torch.inference_mode():
        return answer_of(network(views.unsqueeze(0).to(device))[0].cpu())
