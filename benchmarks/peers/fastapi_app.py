"""Plain FastAPI as the project that this one continues wrote it: decode, transform and infer inside one handler."""

import os
from pathlib import Path

import torch
from fastapi import FastAPI, UploadFile

from benchmarks.peers.eager import EagerModel

app = FastAPI()
model = EagerModel(Path(os.environ["BENCHMARK_RELEASED"]), "cuda" if torch.cuda.is_available() else "cpu")


@app.get("/health")
async def health():
    return {"status": "healthy"}


@app.post("/predict")
async def predict(file: UploadFile):
    image = model.prepare(await file.read())
    return model.answer(model.probabilities(image.unsqueeze(0))[0])
