"""What the processor computes fast, as Linux tells it."""

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
_VNNI = {"avx512_vnni", "avx_vnni"}  # four products of eight bits summed in one instruction
# Of fp32's time (docs/decisions/011, 042, 043): bf16 by AMX's matrix units, bf16 by AVX-512's products, int8.
_BY_MATRICES, _BY_PRODUCTS, _BY_BYTES = 0.46, 0.55, 0.48


def processor_flags(cpuinfo: Path = CPUINFO) -> set[str]:
    """Return the names of the fast units that this processor has, as Linux calls them."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return set()
    flags = next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
    return flags & {*_VNNI, "amx_bf16", "amx_int8", "avx512_bf16", "avx512f", "avx2"}


def fast_precisions(bf16_products: bool, cpuinfo: Path = CPUINFO) -> dict[str, float]:
    """Return the precisions below fp32 in which this processor is faster, of "bf16" and "int8": a share of fp32's time.

    bf16_products: whether the network gains from AVX-512's bf16 products alone (`Backbone.bf16_products`).
    Without VNNI int8 gains little. Empty where the system tells nothing.
    """
    flags = processor_flags(cpuinfo)
    shares = {}
    if "amx_bf16" in flags:
        shares["bf16"] = _BY_MATRICES
    elif bf16_products and "avx512_bf16" in flags:
        shares["bf16"] = _BY_PRODUCTS
    if flags & _VNNI:
        shares["int8"] = _BY_BYTES
    return shares
