"""One of several groups of settings in a place, chosen by the value of one of its keys."""

from typing import Any

from pydantic import Discriminator

from settings.base import Settings


def choose_by(key: str, *models: type[Settings]) -> Discriminator:
    """Make what picks one of several groups of settings by the value of a key; a refusal names the known ones."""
    known = tuple(model.kind_name for model in models)

    def tag(values: Any) -> str:
        return mark(values.get(key)) if isinstance(values, dict) else mark(getattr(values, key, None))

    return Discriminator(
        tag, custom_error_type=f"kind:{key}", custom_error_message=f"must be one of {', '.join(known)}"
    )


def mark(kind_name: object) -> str:
    """Write a kind as it stands in pydantic's locations, where no key looks like it."""
    return f"<{kind_name}>"
