"""Settings of the documentation; the API pages follow the source tree, so that no module can be forgotten."""

import pkgutil
import textwrap
from importlib.metadata import version as installed_version
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from rewho.cli import COMMANDS
from rewho.settings.help import help_text

project = "rewho"
author = "The rewho developers"
copyright = author
version = release = installed_version("rewho")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"rewho {release}"
default_role = "code"  # single backticks in docstrings

myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # fields are listed once, by autodoc
napoleon_attr_annotations = False  # their types stand beside them already


class PackageModules(SphinxDirective):
    """Documents a package and each of its modules: `.. package-modules:: rewho.rank`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return one `automodule` for the package and a section with one for each module below it."""
        self.env.note_reread()  # modules come and go
        package = self.arguments[0]
        folder = Path(__file__).parents[1] / "src" / Path(*package.split("."))
        names = sorted(
            module.name
            for module in pkgutil.iter_modules([str(folder)])
            if not module.ispkg and module.name != "__main__"
        )
        parts = [f".. automodule:: {package}\n"]
        for name in names:
            title = f"{package}.{name}"
            options = "   :members:\n   :ignore-module-all:\n"  # what a module passes on is documented where it is made
            parts.append(f"{title}\n{'-' * len(title)}\n\n.. automodule:: {title}\n{options}")
        return self.parse_text_to_nodes("\n".join(parts), allow_section_headings=True)


class CommandReference(SphinxDirective):
    """Shows the whole help of every command, as `rewho COMMAND --help-all` prints it."""

    def run(self) -> list[nodes.Node]:
        """Return one section per command."""
        self.env.note_reread()  # the settings change without this page
        parts = []
        for name, settings in COMMANDS.items():
            title = f"rewho {name}"
            text = textwrap.indent(help_text(settings, everything=True), "   ")
            parts.append(f"{title}\n{'-' * len(title)}\n\n.. code-block:: none\n\n{text}\n")
        return self.parse_text_to_nodes("\n".join(parts), allow_section_headings=True)


def setup(app: Sphinx) -> None:
    """Register the directives."""
    app.add_directive("package-modules", PackageModules)
    app.add_directive("command-reference", CommandReference)
