"""What GPUs are rated for by their vendors, so that energy and hours can be estimated before anything has run."""

import re
from dataclasses import dataclass

from greenrun.core.errors import GreenrunError

TERA = 1e12


class UnknownModel(GreenrunError):
    """A GPU whose figures greenrun does not have; it invents none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuModel:
    """A GPU by its vendor's data sheet.

    `tdp_w` is its rated power in watts, `peak_flops` dense FP16/BF16 matrix operations per second with 32-bit
    accumulation (half of what is advertised with sparsity), `memory_gib` its nominal memory.
    """

    name: str
    tdp_w: float
    peak_flops: float
    memory_gib: float
    source: str
    pattern: re.Pattern[str]


def _model(
    name: str, tdp_w: float, peak_tflops: float, memory_gib: float, pattern: str, source: str | None = None
) -> GpuModel:
    return GpuModel(
        name=name,
        tdp_w=tdp_w,
        peak_flops=peak_tflops * TERA,
        memory_gib=memory_gib,
        source=source or f"NVIDIA {name.split()[0]} data sheet",
        pattern=re.compile(pattern),
    )


_AMD_200 = "AMD Instinct MI200 series data sheet (500 W, 560 W at its peak)"

# The first whose pattern is found in the name (as `_words` has it) is meant: special forms before the usual one.
MODELS: tuple[GpuModel, ...] = (
    _model("B200 SXM", 1000, 2250, 180, r"\bb200\b", "NVIDIA HGX B200 data sheet"),
    _model("H200 NVL", 600, 835.5, 141, r"\bh200 nvl\b"),
    _model("H200 SXM", 700, 989.5, 141, r"\bh200\b"),
    _model("H100 NVL", 400, 835.5, 94, r"\bh100 nvl\b", "NVIDIA H100 NVL data sheet (350 to 400 W)"),
    _model("H100 PCIe", 350, 756.5, 80, r"\bh100 (\S+ )*pcie\b"),
    _model("H100 SXM", 700, 989.5, 80, r"\bh100\b"),
    _model("A100 PCIe 40GB", 250, 312, 40, r"\ba100 (?=.*\bpcie\b).*\b40"),
    _model("A100 PCIe 80GB", 300, 312, 80, r"\ba100 (.* )?pcie\b"),
    _model("A100 SXM 40GB", 400, 312, 40, r"\ba100 (.* )?40"),
    _model("A100 SXM 80GB", 400, 312, 80, r"\ba100\b"),
    _model("A40", 300, 149.7, 48, r"\ba40\b"),
    _model("A30", 165, 165, 24, r"\ba30\b"),
    _model("A10", 150, 125, 24, r"\ba10\b"),
    _model("V100S PCIe", 250, 130, 32, r"\bv100s\b", "NVIDIA V100 data sheet"),
    _model("V100 PCIe 32GB", 250, 112, 32, r"\bv100 (?=.*\bpcie\b).*\b32"),
    _model("V100 PCIe 16GB", 250, 112, 16, r"\bv100 (.* )?pcie\b"),
    _model("V100 SXM2 32GB", 300, 125, 32, r"\bv100 (?!.*(sxm3|dgxs)).*\b32"),
    _model("V100 SXM2 16GB", 300, 125, 16, r"\bv100\b(?!.*(sxm3|dgxs))"),
    _model("L40S", 350, 362.05, 48, r"\bl40s\b"),
    _model("L40", 300, 181.05, 48, r"\bl40\b"),
    _model("L4", 72, 121, 24, r"\bl4\b"),
    _model("T4", 70, 65, 16, r"\bt4\b"),
    _model("RTX A6000", 300, 154.8, 48, r"(\b|rtx)a6000\b", "NVIDIA RTX A6000 data sheet"),
    _model(
        "RTX 4090",
        450,
        165.2,
        24,
        r"(\b|rtx)4090\b(?! (d|laptop)\b)",
        "NVIDIA Ada GPU architecture white paper, appendix A",
    ),
    _model("RTX 3090", 350, 71, 24, r"(\b|rtx)3090\b(?! ti\b)", "NVIDIA GA102 architecture white paper, appendix A"),
    _model("MI325X", 1000, 1307.4, 256, r"\bmi325x?\b", "AMD Instinct MI325X data sheet"),
    _model("MI300X", 750, 1307.4, 192, r"\bmi300x\b", "AMD Instinct MI300X data sheet"),
    _model("MI250X", 500, 383, 128, r"\bmi250x\b", _AMD_200),
    _model("MI250", 500, 362.1, 128, r"\bmi250\b", _AMD_200),
    _model("MI210", 300, 181, 64, r"\bmi210\b", "AMD Instinct MI210 data sheet"),
)


def find_model(name: str) -> GpuModel:
    """Return the GPU that a driver's or a person's name means (`NVIDIA A100-SXM4-80GB`, `h100 pcie`).

    A bare `a100` is the usual form, named in full in what is returned. Raise UnknownModel with the names known.
    """
    said = _words(name)
    is_part = " mig " in f" {said} "  # a slice of a GPU draws nobody knows how much of it
    found = None if is_part else next((model for model in MODELS if model.pattern.search(said)), None)
    if found is None:
        known = ", ".join(model.name for model in MODELS)
        raise UnknownModel(
            f"'{name}' is no GPU whose data sheet greenrun knows, and it guesses nothing: give the job's power with "
            f"--power and, for --flops, one GPU's speed with --peak-flops; known are {known}"
        )
    return found


def _words(name: str) -> str:
    """Lower case with single spaces for all else: `nvidia a100 sxm4 80gb`."""
    return " ".join(re.findall(r"[a-z0-9]+", name.lower()))
