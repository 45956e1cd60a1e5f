"""What the processor computes fast, as Linux tells it."""

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
_VNNI = {"avx512_vnni", "avx_vnni"}  # four products of eight bits summed in one instruction


def processor_flags(cpuinfo: Path = CPUINFO) -> set[str]:
    """Return the names of the fast units that this processor has, as Linux calls them."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return set()
    flags = next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
    return flags & {*_VNNI, "amx_bf16", "amx_int8", "avx512_bf16", "avx512f", "avx2"}


def fast_precisions(transformer: bool, cpuinfo: Path = CPUINFO) -> tuple[str, ...]:
    """Return the precisions below fp32 in which this processor is faster, the fastest first: of "bf16" and "int8".

    bf16 takes AMX's matrix units for a convolutional network: with AVX-512's bf16 products alone OpenVINO runs
    EfficientNet-Lite0 slower than in fp32 (docs/decisions/011), but a transformer in 0.56 of the time
    (docs/decisions/036), and in int8 in 0.51 (docs/decisions/042). Without VNNI int8 gains little. Empty where the
    system tells nothing.
    """
    flags = processor_flags(cpuinfo)
    amx = "amx_bf16" in flags
    has = {"bf16": amx or (transformer and "avx512_bf16" in flags), "int8": bool(flags & _VNNI)}
    return tuple(precision for precision in (("bf16", "int8") if amx else ("int8", "bf16")) if has[precision])
