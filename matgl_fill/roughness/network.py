"""Stationary networks: minima, transition states between them, and their frustration."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from matgl_fill.errors import InputError
from matgl_fill.roughness.tree import Tree
from matgl_fill.utils.files import atomic_write, fault, read_arrays, write_arrays
from matgl_fill.utils.hashing import hash_state

LENGTHSCALE = 0.8
"""Length scale of the frustration (range-scaled coordinates), as in the reference implementation."""
FILE = "a roughness file"
"""Name, in errors, of the files in which networks and results are saved."""


@dataclass(frozen=True)
class StationaryNetwork:
    r"""Minima and transition states of a scalar field.

    Frustration (Dicks et al., doi 10.1039/D3ME00189J) sums, over every minimum i and every transition state t that
    touches it, the barrier damped with distance:

    .. math:: F = \frac{1}{N_{min}} \sum_{i,t} e^{-\|x_i - x_t\|^2 / 2\ell^2} \max(0, E_t - E_i)

    Of several transition states between the same two minima only the lowest counts: the published networks are simple
    graphs, with one per pair.

    Attributes:
        minima: Coordinates (n, d) of the minima.
        minima_values: Field values (n,) there.
        ts: Coordinates (m, d) of the transition states.
        ts_values: Field values (m,) there.
        pairs: Indices (m, 2) of the two minima that each transition state connects.

    Example:
        >>> import numpy as np
        >>> net = StationaryNetwork(np.array([[0.0], [1.0]]), np.array([0.0, 0.2]), np.array([[0.5]]),
        ...                         np.array([1.0]), np.array([[0, 1]]))
        >>> round(net.frustration(lengthscale=0.8), 4)
        0.7403
    """

    minima: np.ndarray
    minima_values: np.ndarray
    ts: np.ndarray
    ts_values: np.ndarray
    pairs: np.ndarray

    def links(self) -> tuple[np.ndarray, np.ndarray]:
        """Index of the minimum (v,) and of the transition state (v,) of every vector, see :meth:`vectors`."""
        rising = np.argsort(self.ts_values, kind="stable")
        _, first = np.unique(np.sort(self.pairs[rising], axis=1), axis=0, return_index=True)
        lowest = np.sort(rising[first])
        two_sided = lowest[self.pairs[lowest, 0] != self.pairs[lowest, 1]]
        minimum = np.concatenate([self.pairs[lowest, 0], self.pairs[two_sided, 1]])
        return minimum, np.concatenate([lowest, two_sided])

    def vectors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vectors (minimum -> transition state) of the lowest state between each two minima.

        A state that touches one minimum twice gives one vector.

        Returns:
            Minima (v, d), transition states (v, d) and barriers (v,), clipped at 0.
        """
        minimum, ts = self.links()
        barrier = np.maximum(self.ts_values[ts] - self.minima_values[minimum], 0)
        return self.minima[minimum], self.ts[ts], barrier

    def contributions(self, lengthscale: float = LENGTHSCALE) -> np.ndarray:
        """Share (v,) of every vector in the frustration, before division by the number of minima."""
        start, end, barrier = self.vectors()
        return np.exp(-((end - start) ** 2).sum(axis=1) / (2 * lengthscale**2)) * barrier

    def frustration(self, lengthscale: float = LENGTHSCALE) -> float:
        """Frustration of the landscape; 0 for a constant field or a single basin."""
        return float(self.contributions(lengthscale).sum() / max(len(self.minima), 1))

    def tree(self) -> Tree:
        """Disconnectivity tree: which minima are joined below which threshold.

        A transition state below one of its minima counts as being level with it.
        """
        higher = self.minima_values[self.pairs].max(axis=1, initial=-np.inf)
        return Tree.of(self.minima_values, np.maximum(self.ts_values, higher), self.pairs)

    @classmethod
    def from_topsearch(cls, directory: str | Path, suffix: str = "") -> StationaryNetwork:
        """Read the text files of topography-searcher (``min.data``, ``min.coords``, ``ts.data``, ``ts.coords``).

        Args:
            directory: Folder of the files.
            suffix: Ending of each name, for example ``"0_1"``.

        Raises:
            InputError: A file is missing.
        """
        folder = Path(directory)
        paths = {name: folder / f"{name}{suffix}" for name in ("min.data", "min.coords", "ts.data", "ts.coords")}
        for path in paths.values():
            if not path.is_file():
                names = ", ".join(p.name for p in paths.values())
                raise InputError(f"no {path.name} in {folder}; a network needs {names}.")
        minima = np.loadtxt(paths["min.coords"], ndmin=2)
        ts = np.loadtxt(paths["ts.data"], ndmin=2).reshape(-1, 3)
        return cls(
            minima,
            np.loadtxt(paths["min.data"], ndmin=2)[:, 1],
            np.loadtxt(paths["ts.coords"], ndmin=2).reshape(len(ts), minima.shape[1]),
            ts[:, 2],
            ts[:, :2].astype(int),
        )

    def to_topsearch(self, directory: str | Path, suffix: str = "") -> None:
        """Write the text files that topography-searcher and :meth:`from_topsearch` read.

        Values are written in full; the published files round them to five digits.

        Args:
            directory: Folder of the files; it is made if it is missing.
            suffix: Ending of each name.
        """
        folder = Path(directory)
        numbered = np.column_stack([np.arange(len(self.minima)), self.minima_values])
        joined = np.column_stack([self.pairs, self.ts_values])
        tables = {"min.coords": (self.minima, "%.18e"), "min.data": (numbered, "%d %.17g")}
        tables |= {"ts.coords": (self.ts, "%.18e"), "ts.data": (joined, "%d %d %.17g")}
        for name, (rows, form) in tables.items():
            text = io.StringIO()
            np.savetxt(text, rows, fmt=form)
            atomic_write(folder / f"{name}{suffix}", text.getvalue())

    def arrays(self) -> dict[str, np.ndarray]:
        """The five arrays by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def save(self, path: str | Path) -> None:
        """Write everything to one file: JSON if ``path`` ends in ``.json``, else ``.npz``; both are exact."""
        if Path(path).suffix == ".json":
            lists = {name: array.tolist() for name, array in self.arrays().items()}
            facts = {"dimension": self.minima.shape[1]} | lists
            atomic_write(Path(path), json.dumps(facts | {"sha256": hash_state(facts)}) + "\n")
        else:
            write_arrays(path, self.arrays())

    @classmethod
    def load(cls, path: str | Path) -> StationaryNetwork:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: There is no such file, or it is not of this kind.
        """
        try:
            if Path(path).suffix != ".json":
                return cls(**read_arrays(path, FILE, tuple(f.name for f in fields(cls))))._checked()
            facts = json.loads(Path(path).read_text(encoding="utf-8"))
            checksum, n, m, d = facts.pop("sha256", None), len(facts["minima"]), len(facts["ts"]), facts["dimension"]
            if checksum not in (None, hash_state(facts)):
                raise ValueError("its contents do not match its checksum")
            shapes = _shapes(n, m, d)
            kinds = {name: int if name == "pairs" else float for name in shapes}
            arrays = {name: np.array(facts[name], kinds[name]).reshape(shapes[name]) for name in shapes}
            return cls(**arrays)._checked()
        except InputError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise InputError(f"{path} is missing or not {FILE}: {fault(error)}; remove it or give another.") from error

    def _checked(self) -> StationaryNetwork:
        """The network itself.

        Raises:
            ValueError: Its arrays are not those of a network.
        """
        n, m, d = len(self.minima), len(self.ts), self.minima.shape[-1] if self.minima.ndim == 2 else -1
        shapes = _shapes(n, m, d)
        for name, array in self.arrays().items():
            if array.shape != shapes[name] or array.dtype.kind != ("i" if name == "pairs" else "f"):
                raise ValueError(f"its array '{name}' has shape {array.shape} and type {array.dtype}")
            if not np.isfinite(array).all():
                raise ValueError(f"its array '{name}' is not finite")
        if m and not (self.pairs.min() >= 0 and self.pairs.max() < n):
            raise ValueError("its pairs name minima that it does not have")
        return self


def _shapes(n: int, m: int, d: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of a network of n minima and m transition states in d dimensions."""
    return {"minima": (n, d), "minima_values": (n,), "ts": (m, d), "ts_values": (m,), "pairs": (m, 2)}


def persistence(network: StationaryNetwork) -> np.ndarray:
    """Compute birth and death of every basin of a network, by the elder rule.

    Where a transition state joins two components of the sublevel set, the one whose lowest minimum is higher ends there
    (Edelsbrunner, Letscher, Zomorodian, doi 10.1007/s00454-002-2885-2). The difference is the basin's persistence: how
    deep it is. Each saddle of a network of :func:`~matgl_fill.roughness.graph.graph_network` ends one basin.

    Args:
        network: Network of graph mode, or any other.

    Returns:
        Birth and death (n, 2) of each minimum's basin: the value of the minimum, and that of the transition state at
        which its basin joins a deeper one, infinite for the deepest of each component that is joined to no other.

    Example:
        >>> import numpy as np
        >>> net = StationaryNetwork(np.array([[0.0], [1.0]]), np.array([0.0, 0.2]), np.array([[0.5]]),
        ...                         np.array([1.0]), np.array([[0, 1]]))
        >>> persistence(net)
        array([[0. , inf],
               [0.2, 1. ]])
    """
    ends = Tree.of(network.minima_values, network.ts_values, network.pairs).ends()
    return np.column_stack([network.minima_values, ends])
