"""Every public name is the same object each time it is used, and never a module."""

import subprocess
import sys
from pathlib import Path

import rewho

PROGRAM = """
import types, rewho
first = {name: getattr(rewho, name) for name in rewho.__all__}
again = {name: getattr(rewho, name) for name in rewho.__all__}
imported = {}
for name in rewho.__all__:
    exec(f"from rewho import {name}", imported)
for name, thing in first.items():
    assert thing is again[name] is imported[name] and not isinstance(thing, types.ModuleType), name
print(len(first))
"""


def test_no_package_bears_the_name_of_a_public_function():
    """Importing a sub-module `rewho.training.loop` binds `rewho.train` to the package: the function would be gone."""
    modules = {path.stem for path in Path(rewho.__path__[0]).iterdir() if not path.name.startswith("__")}
    assert len(modules) >= 10
    assert modules.isdisjoint(rewho.__all__)


def test_each_public_name_stays_what_it_is_in_a_fresh_process():
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=100)
    assert ran.stdout == f"{len(rewho.__all__)}\n", ran.stderr
