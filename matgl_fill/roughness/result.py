"""Result of an analysis of roughness."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from matgl_fill.errors import InputError
from matgl_fill.roughness.local import LocalRoughness
from matgl_fill.roughness.network import FILE, StationaryNetwork
from matgl_fill.roughness.plots import Projection, disconnectivity_graph, projected_map
from matgl_fill.utils.files import read_arrays, write_arrays
from matgl_fill.utils.scaling import Scaling


@dataclass(frozen=True)
class RoughnessResult:
    """Roughness of a latent space.

    Attributes:
        frustration: Frustration of the whole landscape (``LENGTHSCALE`` 0.8 in range-scaled coordinates).
        network: Stationary network in range-scaled coordinates.
        response: Response (n,) at the data points, before it is scaled.
        surface: Local roughness in range-scaled coordinates.
        origin: Lower corner (d,) of the data, in latent coordinates.
        extent: Range (d,) of the data; infinite for dimensions without any, which are ignored.
    """

    frustration: float
    network: StationaryNetwork
    response: np.ndarray
    surface: LocalRoughness
    origin: np.ndarray
    extent: np.ndarray

    @property
    def _scaling(self) -> Scaling[np.ndarray]:
        return Scaling(self.origin, self.extent)

    def scale(self, points: np.ndarray) -> np.ndarray:
        """Latent points (m, d) in range-scaled coordinates."""
        return self._scaling(points)

    def unscale(self, points: np.ndarray) -> np.ndarray:
        """Range-scaled points (m, d) in latent coordinates."""
        return self._scaling.inverse(points)

    def check_width(self, width: int) -> None:
        """Check that an embedding is as wide as the one that was analysed.

        Raises:
            InputError: The widths differ.
        """
        if len(self.origin) != width:
            raise InputError(
                f"the roughness is of an embedding of width {len(self.origin)}, this model's has {width}; "
                "analyse the roughness of mf.embed(model, pool)."
            )

    def local(self, points: np.ndarray) -> np.ndarray:
        """Local roughness (m,) at latent points (m, d)."""
        return self.surface(self.scale(points))

    def maxima(self, n: int, progress: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Find the roughest points: maxima of the local roughness, see :meth:`LocalRoughness.maxima`.

        Args:
            n: Number of maxima wanted; fewer are returned where there are fewer.
            progress: Draw a progress bar.

        Returns:
            Latent points (<= n, d) and their local roughness, falling.
        """
        points, values = self.surface.maxima(n, progress)
        return self.unscale(points), values

    def plot_map(
        self,
        points: np.ndarray | None = None,
        proposals: np.ndarray | None = None,
        maxima: int = 20,
        projection: Projection = "pca",
        seed: int = 0,
    ) -> Figure:
        """Draw a latent map coloured by local roughness, with its roughest points marked.

        Args:
            points: Latent points (n, d) to show; the stationary points of the network if none are given.
            proposals: Latent points (k, d) of generated crystals.
            maxima: Number of maxima of the local roughness to mark, at most.
            projection: Projection to the plane, ``"pca"`` or ``"umap"`` (extra ``plots``); it is fitted to the points.
            seed: Seed of UMAP.

        Returns:
            The figure.

        Raises:
            InputError: The points have no finite coordinates or another dimension, the projection is unknown, or UMAP
                is not installed.
        """
        if points is None:
            points = self.unscale(np.concatenate([self.network.minima, self.network.ts]))
        points = np.asarray(points, dtype=float)
        marked = {"roughest point": self.maxima(maxima)[0]}
        if proposals is not None:
            marked["proposal"] = np.asarray(proposals, dtype=float)
        return projected_map(points, self.local, marked, projection, seed)

    def plot_disconnectivity(self, label: str = "response") -> Figure:
        """Draw the :func:`matgl_fill.roughness.plots.disconnectivity_graph` in units of the response."""
        return disconnectivity_graph(self.network.tree(), label, self.response.min(), self.response.max())

    def save(self, path: str | Path) -> None:
        """Write everything to one ``.npz`` file, atomically."""
        facts = {name: getattr(self, name) for name in ("frustration", "response", "origin", "extent")}
        shape = {"preset": self.surface.preset, "width": self.surface.width}
        write_arrays(path, facts | shape | self.network.arrays())

    @classmethod
    def load(cls, path: str | Path) -> RoughnessResult:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: There is no such file, or it is not of this kind.
        """
        facts = read_arrays(path, FILE, ("frustration", "response", "origin", "extent", "preset", "width"))
        network = StationaryNetwork.load(path)
        try:
            frustration, preset, width = (facts[name].item() for name in ("frustration", "preset", "width"))
            surface = LocalRoughness(network, preset, width)
            shapes = dict.fromkeys(("origin", "extent"), (network.minima.shape[1],))
            for name, shape in (shapes | {"response": (facts["response"].size,)}).items():
                if facts[name].shape != shape or facts[name].dtype.kind != "f":
                    raise ValueError(f"its array '{name}' has shape {facts[name].shape} and type {facts[name].dtype}")
        except (ValueError, TypeError, IndexError) as error:
            raise InputError(f"{path} is not {FILE}: {error}; remove it or give another.") from error
        return cls(frustration, network, facts["response"], surface, facts["origin"], facts["extent"])
