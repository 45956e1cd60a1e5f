"""The bounds on what a request may carry. config.properties bounds the whole request (max_request_size)."""

MAX_BYTES = 20 * 1024 * 1024  # one file; a 50-megapixel JPEG of a camera takes about this
MAX_PIXELS = 64_000_000  # width x height
# What decoding may add to a worker, estimated from the header (images/decoding_memory.py).
MAX_DECODING_BYTES = 342_000_000
MIN_SIDE = 32  # below this no view of the image says anything about how it was made
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "GIF", "BMP", "TIFF")
