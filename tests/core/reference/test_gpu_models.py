"""GPUs are found by the names that drivers and people give them, and never mistaken for another."""

import pytest

from greenrun.core.reference.gpu_models import MODELS, UnknownModel, find_model


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("NVIDIA H200", "H200 SXM"), ("NVIDIA H200 NVL", "H200 NVL"), ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA H100 PCIe", "H100 PCIe"), ("h100-pcie", "H100 PCIe"), ("h100", "H100 SXM"),
        ("NVIDIA H100 NVL", "H100 NVL"), ("NVIDIA A100-SXM4-80GB", "A100 SXM 80GB"),
        ("NVIDIA A100-SXM4-40GB", "A100 SXM 40GB"), ("NVIDIA A100-PCIE-40GB", "A100 PCIe 40GB"),
        ("NVIDIA A100 80GB PCIe", "A100 PCIe 80GB"), ("Tesla V100-SXM2-16GB", "V100 SXM2 16GB"),
        ("Tesla V100-SXM2-32GB", "V100 SXM2 32GB"), ("Tesla V100-PCIE-32GB", "V100 PCIe 32GB"),
        ("Tesla V100S-PCIE-32GB", "V100S PCIe"), ("NVIDIA L40S", "L40S"), ("NVIDIA L40", "L40"), ("NVIDIA L4", "L4"),
        ("Tesla T4", "T4"), ("NVIDIA RTX A6000", "RTX A6000"), ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("rtx4090", "RTX 4090"), ("NVIDIA GeForce RTX 3090", "RTX 3090"), ("AMD Instinct MI250X", "MI250X"),
        ("AMD Instinct MI300X OAM", "MI300X"),
    ],
)  # fmt: skip
def test_a_driver_s_and_a_person_s_name_is_understood(said: str, name: str) -> None:
    assert find_model(said).name == name


@pytest.mark.parametrize(
    "said",
    [
        "", "H20", "A10G", "A100X", "NVIDIA GH200 480GB", "MI300A", "NVIDIA GeForce RTX 4090 Laptop GPU", "RTX 4090 D",
        "NVIDIA GeForce RTX 3090 Ti", "Tesla V100-SXM3-32GB", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "T400", "emulated",
    ],
)  # fmt: skip
def test_a_gpu_that_only_sounds_like_a_known_one_is_refused_with_the_names_and_the_way_out(said: str) -> None:
    with pytest.raises(UnknownModel, match=r"--power .* --peak-flops; known are .*H100 SXM.*MI300X"):
        find_model(said)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_each_row_is_found_by_its_own_name_and_is_plausible(model: object) -> None:
    row = next(known for known in MODELS if known is model)
    assert find_model(row.name) is row
    assert row.source
    assert 50 <= row.tdp_w <= 1500
    assert 2e11 < row.peak_flops / row.tdp_w < 3e12  # dense operations per joule since 2017
