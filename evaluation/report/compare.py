"""Two results side by side."""

from tstitch.runs.run import differing_keys

SHARED_BY_PAIRED = ("seed", "num_images", "labels", "extractor_sha256", "reference_sha256")


def compare_results(a: dict, b: dict) -> list[str]:
    """List every metric of either with both values and the difference, then what differs in the protocols."""
    lines = [f"{'metric':<28}{'a':>12}{'b':>12}{'b - a':>12}"]
    for name in dict.fromkeys([*a["metrics"], *b["metrics"]]):
        values = [result["metrics"].get(name) for result in (a, b)]
        cells = [f"{'-':>12}" if value is None else f"{value:12.4f}" for value in values]
        cells.append(f"{'-':>12}" if None in values else f"{values[1] - values[0]:+12.4f}")
        lines.append(f"{name:<28}{''.join(cells)}")
    different = differing_keys(a["protocol"], b["protocol"], places=("in a", "in b"))
    return [*lines, *(f"protocol: {text}" for text in different or ["the same"])]


def are_paired(a: dict, b: dict) -> bool:
    """Say whether image i of both was sampled from the same noise and label, and scored the same way."""
    first, second = a["protocol"], b["protocol"]
    return all(key in first and first[key] == second.get(key) for key in SHARED_BY_PAIRED)
