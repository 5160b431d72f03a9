"""What Sphinx lacks here: formulas without a script, figures without pyplot, the command line's own words."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from matplotlib.figure import Figure
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode
from typer.cli import get_docs_for_click
from typer.testing import CliRunner

from matgl_fill.cli import app as command_line
from matgl_fill.roughness.plots import house_style

ORDER = (
    "drop_in",
    "features_for_random_forest",
    "roughness_of_your_model",
    "propose_for_dft",
    "tune_on_real_dft",
    "md_fills_its_gaps",
    "relax_before_after",
    "add_an_architecture",
    "upgrade_old_checkpoint",
    "dgl_m3gnet",
)
"""Of the gallery's pages."""


class GalleryOrder:
    """Sorts examples as :data:`ORDER` has them."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, name: str) -> int:
        """Place of a file."""
        return ORDER.index(Path(name).stem)


def arguments(_conf: dict[str, Any], script: dict[str, Any]) -> list[str]:
    """Arguments of an example: none, unless its oracle is not installed here."""
    needs_oracle = "--oracle" in Path(script["src_file"]).read_text()
    return ["--oracle", "ase.calculators.emt:EMT"] if needs_oracle and find_spec("sevenn") is None else []


def figures(_block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Pictures of the matplotlib figures that a block of an example made; ours are not pyplot's."""
    from sphinx_gallery.scrapers import figure_rst

    seen = gallery_conf.setdefault("_seen_figures", set())
    paths: Iterator[str] = block_vars["image_path_iterator"]
    made = []
    for value in block_vars["example_globals"].values():
        if isinstance(value, Figure) and id(value) not in seen:
            seen.add(id(value))
            made.append(next(paths))
            with house_style("matgl_fill"):
                value.savefig(made[-1], dpi=150)
    return figure_rst(made, gallery_conf["src_dir"])


def gallery_headers(app: Sphinx) -> None:
    """Only folders with a header in reStructuredText are parts of the gallery: a README.md makes none."""
    app.config.sphinx_gallery_conf["source_suffix"] = {".rst": "restructuredtext"}


def write_commands(app: Sphinx) -> None:
    """The command line's own help and its list of settings; both are kept, for readers of the repository."""
    command = typer.main.get_command(command_line)
    context = typer.Context(command, info_name="matgl-fill")
    text = get_docs_for_click(obj=command, ctx=context, name="matgl-fill")
    target = Path(app.srcdir) / "reference"
    (target / "commands.md").write_text(text)
    (target / "settings.toml").write_text(CliRunner().invoke(command_line, ["config"]).stdout)


def by_last_name(app: Sphinx, env: Any, node: Any, content: nodes.Element) -> nodes.Element | None:
    """A reference to a public object by a name other than that under which it is documented."""
    if node.get("refdomain") != "py":
        return None
    domain, wanted = env.get_domain("py"), node["reftarget"].rsplit(".", 1)[-1]
    found = [(name, o) for name, o in domain.objects.items() if name.rsplit(".", 1)[-1] == wanted and not o.aliased]
    if len(found) != 1:
        return None
    name, target = found[0]
    return make_refnode(app.builder, node["refdoc"], target.docname, target.node_id, content, name)


def inline_formula(self: Any, node: nodes.math) -> None:
    """A formula in a line."""
    self.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def displayed_formula(self: Any, node: nodes.math_block) -> None:
    """A formula of its own."""
    self.body.append(f'<div class="formula">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (inline_formula, None), (displayed_formula, None))
    app.connect("builder-inited", gallery_headers, priority=100)
    app.connect("builder-inited", write_commands)
    app.connect("missing-reference", by_last_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
