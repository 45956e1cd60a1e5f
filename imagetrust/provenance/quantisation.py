"""What the quantisation tables of a JPEG tell of the program that saved it."""

from functools import cache
from typing import Any

import numpy as np
from PIL import JpegImagePlugin, JpegPresets

from imagetrust.provenance.finding import NOTHING, Finding, Reading
from imagetrust.provenance.opened_file import OpenedFile

# ITU-T T.81 (1992), Annex K, tables K.1 (luminance) and K.2 (chrominance), row by row.
_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *[99] * 32,
)  # fmt: skip


def read_quantisation(file: OpenedFile) -> Reading:
    """One finding: the nearest quality of the IJG's scale, whether it fits exactly, and whose tables they are."""
    if not isinstance(file.header, JpegImagePlugin.JpegImageFile) or not file.header.quantization:
        return NOTHING
    numbers = sorted(file.header.quantization)
    tables = [np.array(file.header.quantization[number], np.int64) for number in numbers]
    quality, difference = ijg_quality(tables)
    values: dict[str, object] = {
        "tables": len(tables),
        "ijg_quality": quality,
        "ijg_exact": difference == 0,
        "mean_difference": round(difference, 3),
    }
    presets = [name for name, preset in _photoshop_presets().items() if _same(preset, tables)]
    if presets:
        values["matches"] = [f"Photoshop, {name.replace('_', ' ')}" for name in presets]
        detail = f"The JPEG tables are those of Photoshop's setting {presets[0].replace('_', ' ')}."
    elif difference == 0:
        values["matches"] = [f"libjpeg or a library that follows it, quality {quality}"]
        detail = f"The JPEG tables are the standard's, scaled to quality {quality} as most programs and websites do."
    else:
        detail = f"The JPEG tables are a camera's or program's own, about as fine as quality {quality} of libjpeg."
    return Reading((Finding("jpeg_quantisation", "nothing", detail, values),))


def ijg_quality(tables: list[np.ndarray]) -> tuple[int, float]:
    """Return the quality, 1 to 100, whose tables are nearest to those given, and the mean absolute difference to them.

    tables: luminance first, each 64 integers in natural order; a second and further ones are chrominance.
    """
    reference = _ijg_tables()
    differences = np.abs(reference[:, 0] - tables[0]).mean(axis=1)
    if len(tables) > 1:
        differences = (differences + np.abs(reference[:, 1] - tables[1]).mean(axis=1)) / 2
    best = int(differences.argmin())
    return best + 1, float(differences[best])


@cache
def _ijg_tables() -> np.ndarray:
    """(100, 2, 64): Annex K's tables scaled as jpeg_quality_scaling and jpeg_add_quant_table of the IJG's libjpeg
    (jcparam.c, release 6b) do, to 8 bits.
    """
    quality = np.arange(1, 101)
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    scaled = (np.array([_LUMINANCE, _CHROMINANCE]) * percent[:, None, None] + 50) // 100
    return scaled.clip(1, 255)


@cache
def _photoshop_presets() -> dict[str, list[np.ndarray]]:
    """Tables by name of Photoshop's setting. Source: PIL.JpegPresets, "quality settings equivalent to the Photoshop
    settings"; other programs' tables are left out for want of a source that may be cited.
    """
    presets: dict[str, Any] = JpegPresets.presets  # Pillow declares its members as mere objects
    return {name: [np.array(table) for table in preset["quantization"]] for name, preset in presets.items()}


def _same(preset: list[np.ndarray], tables: list[np.ndarray]) -> bool:
    return len(tables) == len(preset) and all(map(np.array_equal, preset, tables))
