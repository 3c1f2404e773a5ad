"""An unknown key or name, answered with the nearest known ones. Imports nothing heavy: a typo is answered at once."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher

NEAR = 0.7
MOST_NEAR = 3


def explain_unknown_key(key: str, siblings: Iterable[str], everywhere: Iterable[str]) -> str:
    """Write the refusal of a key: the nearest keys first, then those that are known where it stands.

    Args:
        key: dotted, as the user gave it.
        siblings: the known keys of its group, without the group's name.
        everywhere: the dotted keys of the whole configuration.
    """
    group = key.rpartition(".")[0]
    prefix = f"{group}." if group else ""
    known = sorted(siblings)
    near = nearest_keys(key, [*(f"{prefix}{name}" for name in known), *everywhere])
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    where = f" in {group}" if group else ""
    return f"unknown key {key!r}; {meant}known{where}: {', '.join(known) or 'none'}"


def nearest_keys(key: str, candidates: Iterable[str]) -> list[str]:
    """Return the candidates that look most like a dotted key, or that end in something like it, best first."""
    parts, name = key.count(".") + 1, key.rpartition(".")[2]
    scores = {}
    for candidate in candidates:
        tails = {candidate, ".".join(candidate.split(".")[-parts:])}
        whole = max(_likeness(key, tail) for tail in tails)
        # Long keys of one group look alike whatever their last word is.
        scores[candidate] = min(whole, _likeness(name, candidate.rpartition(".")[2]))
    scores.pop(key, None)
    best = max(scores.values(), default=0.0)
    near = [candidate for candidate, score in scores.items() if score >= max(NEAR, best - 0.1)]
    return sorted(near, key=lambda candidate: (-scores[candidate], candidate.count("."), candidate))[:MOST_NEAR]


def _likeness(first: str, second: str) -> float:
    return SequenceMatcher(None, first, second).ratio()


def dotted_keys(container: Mapping, prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of nested mappings, groups and values."""
    for key, value in container.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from dotted_keys(value, f"{prefix}{key}.")
