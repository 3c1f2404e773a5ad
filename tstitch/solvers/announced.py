"""Methods of a scheduler that tell any number of listeners of their calls."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from copy import deepcopy
from functools import update_wrapper


class AnnouncedMethod:
    """A method of one scheduler that calls its listeners after each of its own calls, with it and the same arguments.

    It stands in the scheduler's `__dict__`. Copies of the scheduler get the method without listeners; a copy of the
    `__dict__` alone, which some pipelines write back, holds the same object.
    """

    def __init__(self, scheduler: object, name: str):
        update_wrapper(self, getattr(scheduler, name))  # pipelines look at the signature
        self._scheduler, self._name = weakref.ref(scheduler), name
        self._method, self._is_override = getattr(scheduler, name), name in vars(scheduler)
        self._listeners: list[weakref.WeakMethod] = []

    def __call__(self, *args: object, **kwargs: object) -> object:
        result = self._method(*args, **kwargs)
        for reference in tuple(self._listeners):
            if (listener := reference()) is not None:
                listener(self._scheduler(), *args, **kwargs)
        return result

    def __deepcopy__(self, memo: dict) -> object:
        return deepcopy(self._method, memo) if id(self._scheduler()) in memo else self

    def add(self, listener: Callable[..., None]) -> None:
        """Call `listener`, a bound method that is referenced weakly, after each call."""
        self._listeners.append(weakref.WeakMethod(listener))

    def remove(self, listener: Callable[..., None]) -> None:
        """Call `listener` no more; without listeners the scheduler gets its method back as it was."""
        self._listeners = [each for each in self._listeners if each() not in (None, listener)]
        scheduler = self._scheduler()
        if self._listeners or scheduler is None or vars(scheduler).get(self._name) is not self:
            return
        if self._is_override:
            setattr(scheduler, self._name, self._method)
        else:
            delattr(scheduler, self._name)


def announce(scheduler: object, name: str, listener: Callable[..., None]) -> Callable[[], None]:
    """Call `listener` after each call of method `name` of the scheduler; returns the function that ends this."""
    method = vars(scheduler).get(name)
    if not isinstance(method, AnnouncedMethod):
        method = AnnouncedMethod(scheduler, name)
        setattr(scheduler, name, method)
    method.add(listener)
    return lambda: method.remove(listener)
