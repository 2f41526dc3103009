"""`phantom`: write a synthetic dataset in the layout of a real one."""

from . import phantoms
from .prepare import load, modules

# `python -m tools phantom DATASET DIR ...`: the function of that name in each module of tools/phantoms
phantom = {name: getattr(load(phantoms, name), name) for name in modules(phantoms)}
