"""What the processor computes fast, as Linux tells it."""

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
_VNNI = {"avx512_vnni", "avx_vnni"}  # four products of eight bits summed in one instruction


def fast_precisions(cpuinfo: Path = CPUINFO) -> tuple[str, ...]:
    """Return the precisions below fp32 in which this processor is faster, the fastest first: of "bf16" and "int8".

    bf16 takes AMX's matrix units: with AVX-512's bf16 products alone OpenVINO runs EfficientNet-Lite0 slower than in
    fp32, without VNNI int8 gains little (docs/backends.md has the figures). Empty where the system tells nothing.
    """
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return ()
    flags = next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
    fast = ["bf16"] if "amx_bf16" in flags else []
    return (*fast, "int8") if flags & _VNNI else tuple(fast)
