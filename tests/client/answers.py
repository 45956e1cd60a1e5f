"""Answers as the server gives them, small."""

import base64

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40
MODEL = {"name": "authenticity", "version": "1.0", "weights_sha256": "0" * 64, "engine": "openvino bf16"}
AUTHENTICITY = {
    "label": "generated", "probability_generated": 0.9, "confidence": 0.9, "verdict": "generated",
    "thresholds": {"real": 0.17, "generated": 0.83}, "logits": {"real": -1.0, "generated": 1.0}, "model": MODEL,
}  # fmt: skip
GENERATOR_TYPE = {
    "family": "diffusion", "confidence": 0.7,
    "probabilities": {"real": 0.1, "gan": 0.1, "diffusion": 0.7, "other": 0.1},
    "logits": {"real": 0.0, "gan": 0.0, "diffusion": 1.0, "other": 0.0}, "model": MODEL | {"name": "generator_type"},
}  # fmt: skip
BOTH = {"authenticity": AUTHENTICITY, "generator_type": GENERATOR_TYPE}
HEATMAP = {
    "method": "gradcam", "model": "authenticity", "class": "generated", "rows": 1, "columns": 2, "values": [[0.0, 1.0]],
    "view": {"left": 0, "top": 0, "right": 64, "bottom": 32},
    "regions": [{"left": 32, "top": 0, "right": 64, "bottom": 32, "heat": 0.9, "share": 0.5}],
    "sentence": "On the right.", "overlay_png": base64.b64encode(PNG).decode(),
}  # fmt: skip
EXPLANATION = {
    "summary": "The file declares nothing.",
    "inferred": BOTH | {"heatmap": HEATMAP},
    "declared": {
        "findings": [
            {"source": "exif", "strength": "unsigned", "says": "camera", "detail": "A camera.", "values": {"a": [1]},
             "evidence": "device"},
            {"source": "icc", "strength": "unsigned", "says": "nothing", "detail": "A profile.", "values": {},
             "truncated": True},
        ],
        "unreadable": [{"source": "c2pa", "unreadable": "It is damaged."}],
    },
    "file": {"format": "JPEG", "width": 64, "height": 32, "bytes": len(JPEG), "mode": "RGB"},
}  # fmt: skip
