"""What precision=auto means on a CPU: bf16 where it is faster than float32."""

from pathlib import Path

import pytest

from sampling import precision


@pytest.mark.parametrize(
    ("facts", "chosen"),
    [
        ("vendor_id : AuthenticAMD\nflags : avx512f avx512_bf16", "bf16"),
        ("vendor_id : GenuineIntel\nflags : avx512f avx512_bf16 amx_bf16 amx_tile", "bf16"),
        ("vendor_id : GenuineIntel\nflags : avx512f avx512_bf16", "float32"),
        ("vendor_id : AuthenticAMD\nflags : avx2", "float32"),
        (None, "float32"),
    ],
)
def test_auto_is_the_faster_one(monkeypatch, tmp_path: Path, facts: str | None, chosen: str) -> None:
    if facts is not None:
        (tmp_path / "cpuinfo").write_text(facts)
    monkeypatch.setattr(precision, "CPUINFO", tmp_path / "cpuinfo")
    assert precision.choose_precisions("auto", 2, "cpu") == [chosen, chosen]
