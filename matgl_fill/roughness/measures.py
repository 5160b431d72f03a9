"""Measures of an embedding's quality, side by side in one table.

None needs a label of a downstream task: the response is any quantity of each crystal, descriptors are optional.
"Latent neighbours" are those of graph mode, Euclidean after every dimension is scaled to the range of the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import complete
from scipy.integrate import trapezoid
from scipy.linalg import svdvals
from scipy.spatial.distance import pdist

from matgl_fill.errors import InputError
from matgl_fill.roughness.analysis import graph_roughness
from matgl_fill.roughness.neighbours import NEIGHBOURS, nearest_neighbours
from matgl_fill.roughness.similarity import standardise
from matgl_fill.utils.console import track
from matgl_fill.utils.counting import counted
from matgl_fill.utils.scaling import Scaling

MIN_POINTS = 20
"""Fewer crystals than this say too little about an embedding."""
MAX_PAIRED = 4000
"""Measures that need every pair of points (ROGI, ROGI-XD) are taken on a seeded draw of this many."""
STEP = 0.01
"""Smallest distance between two thresholds of ROGI, in units of the largest possible distance, as published."""
RANK_EPSILON = 1e-7
"""Added to every normalised singular value, as published."""
NOISE_FLOOR = 1e-10
"""Eigenvalues below this times the largest are rounding of single precision, not spectrum."""
LEVEL = 95.0
"""Per cent of the bootstrap intervals."""


@dataclass(frozen=True)
class Measure:
    """One number about an embedding.

    Attributes:
        name: Name of the measure.
        value: Value on all points.
        low: Lower end of the 95 % interval from half-samples; None where none was asked for.
        high: Upper end of the interval.
        better: Direction that is better: ``"lower"``, ``"higher"`` or ``"near 1"``.
        says: Meaning of the measure in one line.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    better: str
    says: str


FRUSTRATION = "frustration"
ROGI = "ROGI"
ROGI_XD = "ROGI-XD"
RANKME = "RankMe"
ALPHA_REQ = "alpha-ReQ"
RESPONSE_ENERGY = "Dirichlet energy, response"
DESCRIPTOR_ENERGY = "Dirichlet energy, descriptors"
AGREEMENT = "neighbour agreement"
MEANING = {
    FRUSTRATION: ("lower", "barriers of the response between its minima in latent space, damped with distance"),
    ROGI: ("lower", "spread of the response lost as latent neighbourhoods are merged, over distance"),
    ROGI_XD: ("lower", "ROGI over the logarithm of the number of clusters, comparable between dimensions"),
    RANKME: ("higher", "dimensions in use: exponential of the entropy of the singular values"),
    ALPHA_REQ: ("near 1", "decay of the covariance spectrum: below 1 noise, far above 1 collapse"),
    RESPONSE_ENERGY: ("lower", "squared change of the response between latent neighbours, 1 as between random points"),
    DESCRIPTOR_ENERGY: ("lower", "squared change of the descriptors between latent neighbours, averaged over columns"),
    AGREEMENT: ("higher", "share of the nearest latent neighbours that are nearest by descriptors too"),
}
"""Direction and one line for every measure, in the order of the table."""
OF_RESPONSE = frozenset({FRUSTRATION, ROGI, ROGI_XD, RESPONSE_ENERGY})
"""Measures that the response enters."""


def measure(
    Z: np.ndarray,
    response: np.ndarray,
    descriptors: np.ndarray | None = None,
    k: int = NEIGHBOURS,
    seed: int = 0,
    bootstrap: int = 0,
) -> list[Measure]:
    r"""Compute every measure of an embedding in one table, with intervals from half-samples where asked for.

    Every measure has a function of its own here but frustration, which is that of
    :func:`matgl_fill.roughness.graph_roughness`. It runs from 0 (one basin) upwards; lower is better. It is the same
    for shifted and scaled dimensions and for any rising affine change of the response. Its length scale is fixed while
    distances grow with the number of dimensions, so that values of different embeddings cannot be compared; and it is
    an average over minima, blind to their number.

    Args:
        Z: Embedding (n, d), finite.
        response: Any quantity of each crystal (n,), finite.
        descriptors: Model-independent descriptors (n, c); without them the two measures that need them are left out.
        k: Number of nearest neighbours for the Dirichlet energies and for the agreement.
        seed: Seed of the half-samples, and of the draw where n is above ``MAX_PAIRED``.
        bootstrap: Number of half-samples; 0 for no intervals.

    Returns:
        One :class:`Measure` for each, in the order of ``MEANING``.

    Raises:
        InputError: There are fewer than ``MIN_POINTS`` points, lengths differ, or values are not finite.

    Example:
        >>> import numpy as np
        >>> Z = np.random.default_rng(0).normal(size=(200, 5))
        >>> table = {m.name: m for m in measure(Z, Z[:, 0], bootstrap=20)}
        >>> table["RankMe"].low < table["RankMe"].value < table["RankMe"].high
        True
        >>> 4.9 < table["RankMe"].value < 5.0
        True
    """
    Z, response = np.asarray(Z, dtype=float), np.asarray(response, dtype=float)
    D = None if descriptors is None else np.asarray(descriptors, dtype=float)
    _check(Z, response, D)
    values = _values(Z, response, D, k, seed)
    rng = np.random.default_rng(seed)
    halves = [np.sort(rng.permutation(len(Z))[: len(Z) // 2]) for _ in range(bootstrap)]
    replicates = [
        _values(Z[h], response[h], None if D is None else D[h], k, seed) for h in track(halves, "half-samples")
    ]
    return [
        Measure(name, value, *_interval(value, [r[name] for r in replicates]), *MEANING[name])
        for name, value in values.items()
    ]


def _interval(value: float, replicates: list[float]) -> tuple[float | None, float | None]:
    """Ends of the interval around a value on all points, from its values on half-samples; None where there are none.

    Each replicate takes half of the points without replacement. A bootstrap with replacement would put copies of a
    point next to itself and spoil every measure that looks at neighbours. The deviation of a half-sample has the
    variance of the whole sample's for statistics that are asymptotically linear (1/m - 1/n = 1/n at m = n/2; Politis,
    Romano and Wolf, Subsampling, 1999), so quantiles of the deviations need no rescaling. They are taken from the
    replicates' median and laid around the value on all points, because several measures depend on the number of
    points. The response is not made anew for a half-sample.
    """
    if not replicates:
        return None, None
    sample = np.array(replicates)
    below, above = np.percentile(sample - np.median(sample), [50 - LEVEL / 2, 50 + LEVEL / 2])
    return float(value + below), float(value + above)


def _check(Z: np.ndarray, response: np.ndarray, D: np.ndarray | None) -> None:
    given = [("embedding", Z, 2), ("response", response, 1)] + ([("descriptors", D, 2)] if D is not None else [])
    for name, array, ndim in given:
        if array.ndim != ndim:
            raise InputError(f"the {name} must have {counted(ndim, 'dimension')}, got an array of shape {array.shape}.")
        if len(array) != len(Z) or len(Z) < MIN_POINTS:
            raise InputError(f"measures need at least {MIN_POINTS} points, got {len(Z)} and {len(array)} for {name}.")
        if not np.isfinite(array).all():
            raise InputError(f"the {name} must be finite; remove rows with NaN or infinity.")


def _values(Z: np.ndarray, y: np.ndarray, D: np.ndarray | None, k: int, seed: int) -> dict[str, float]:
    """All measures by name; what two of them need is computed once."""
    drawn = _paired(len(Z), seed)
    merged = CoarseGraining.of(Z[drawn], y[drawn])
    index = nearest_neighbours(range_scaled(Z), k)[1]
    values = {
        FRUSTRATION: graph_roughness(Z, y).frustration,
        ROGI: merged.rogi(),
        ROGI_XD: merged.rogi_xd(),
        RANKME: rankme(Z),
        ALPHA_REQ: alpha_req(Z),
        RESPONSE_ENERGY: dirichlet_energy(y[:, None], index),
    }
    if D is not None:
        values[DESCRIPTOR_ENERGY] = dirichlet_energy(D, index)
        values[AGREEMENT] = neighbour_agreement(index, nearest_neighbours(standardise(D), k)[1])
    return values


def _paired(n: int, seed: int) -> np.ndarray:
    """Indices of the points, at most ``MAX_PAIRED``, for measures that need every pair."""
    if n <= MAX_PAIRED:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).permutation(n)[:MAX_PAIRED])


def range_scaled(Z: np.ndarray) -> np.ndarray:
    """Scale every dimension of points (n, d) to [0, 1]; dimensions without range become 0."""
    return Scaling.of_range(Z, floor=0.0)(Z)


@dataclass(frozen=True)
class CoarseGraining:
    """Spread of a response between clusters, as complete linkage merges n points to one cluster.

    Attributes:
        heights: Distance (n - 1,) of every merge, rising, in units of the diagonal of the box around the points.
        spread: Twice the size-weighted standard deviation (n,) of the cluster means after 0, 1, .. n - 1 merges, with
            the response scaled to [0, 1]; 0 to 1.
    """

    heights: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, Z: np.ndarray, response: np.ndarray) -> CoarseGraining:
        """Merge points (n, d) with a response (n,) by complete linkage.

        A merge of clusters a and b takes n_a n_b / (n_a + n_b) (m_a - m_b)^2 from the sum of squares between
        clusters, so that all n spreads cost one pass over the merges.
        """
        n = len(Z)
        extent, span = float(np.linalg.norm(np.ptp(Z, axis=0))), float(np.ptp(response))
        merges = complete(pdist(Z) / (extent or 1.0))
        mean = ((response - response.min()) / (span or 1.0)).tolist()
        size = [1] * n
        lost = np.empty(n - 1)
        for step, (a, b) in enumerate(merges[:, :2].astype(int).tolist()):
            total = size[a] + size[b]
            lost[step] = size[a] * size[b] / total * (mean[a] - mean[b]) ** 2
            mean.append((size[a] * mean[a] + size[b] * mean[b]) / total)
            size.append(total)
        between = np.append(np.cumsum(lost[::-1])[::-1], 0.0)
        return cls(merges[:, 2], 2 * np.sqrt(between / n))

    def _thresholds(self, step: float) -> np.ndarray:
        """Merge distances at least ``step`` apart, the first one always."""
        kept: list[float] = []
        for height in self.heights.tolist():
            if not kept or height - step >= kept[-1]:
                kept.append(height)
        return np.array(kept)

    def rogi(self, step: float = STEP) -> float:
        """Spread of the response minus its mean over all distances, see :func:`rogi`."""
        t = self._thresholds(step)
        spread = self.spread[np.searchsorted(self.heights, t, side="right")]
        curve = np.concatenate([self.spread[:1], spread, [0.0]])
        return float(curve[0] - trapezoid(curve, np.concatenate([[0.0], t, [1.0]])))

    def rogi_xd(self) -> float:
        """Spread of the response minus its mean over cluster numbers, see :func:`rogi_xd`."""
        done = np.append(0, np.unique(np.searchsorted(self.heights, self.heights, side="right")))
        n = len(self.spread)
        return float(self.spread[0] - trapezoid(self.spread[done], 1 - np.log(n - done) / np.log(n)))


def rogi(Z: np.ndarray, response: np.ndarray) -> float:
    r"""Compute the roughness index (ROGI).

    .. math:: \mathrm{ROGI} = \sigma_0 - \int_0^1 \sigma_t \, dt

    :math:`\sigma_t` is twice the standard deviation of the response, scaled to [0, 1], after points closer than t
    are merged by complete linkage and replaced by their mean; t is in units of the diagonal of the box around the
    points. It runs from 0 (flat) to 1; lower is better. It is the same for shifted and uniformly scaled Z and for any
    affine change of the response, but not under rotation, because of the box. In high dimension distances bunch, so
    that values of embeddings of different width cannot be compared. The integral is the trapezoid over thresholds
    ``STEP`` apart, as in the authors' package ``rogi``, with which it agrees.

    Source: Aldeghi et al., J. Chem. Inf. Model. 62, 4660 (2022), doi 10.1021/acs.jcim.2c00903.

    Args:
        Z: Embedding (n, d).
        response: Response (n,).

    Example:
        >>> import numpy as np
        >>> x = np.linspace(0, 1, 101)[:, None]
        >>> round(rogi(x, x[:, 0]), 2), round(rogi(x, np.arange(101) % 2), 2)
        (0.13, 0.96)
    """
    return CoarseGraining.of(Z, response).rogi()


def rogi_xd(Z: np.ndarray, response: np.ndarray) -> float:
    r"""Compute the roughness index for comparison between representations of different dimension (ROGI-XD).

    .. math:: \mathrm{ROGI\mbox{-}XD} = \sigma_0 - \int_0^1 \sigma_x \, dx, \quad x = 1 - \log N_{clusters} / \log N

    Here :math:`\sigma` is as in :func:`rogi`. It runs from 0 (flat) to 1; lower is better. Only the order of the
    distances counts: it is the same for shifted, rotated and uniformly scaled Z, and for any affine change of the
    response. The integral runs over
    every merge (the authors' program with ``min_dt=0``), so that an outlier, which stretches the box, does not
    coarsen it.

    Source: Graff et al., Digital Discovery 2, 1452 (2023), doi 10.1039/D3DD00088E.

    Args:
        Z: Embedding (n, d).
        response: Response (n,).
    """
    return CoarseGraining.of(Z, response).rogi_xd()


def rankme(Z: np.ndarray) -> float:
    r"""Compute the effective rank of an embedding (RankMe).

    .. math:: \exp\Big(-\sum_k p_k \log p_k\Big), \quad p_k = \sigma_k / \|\sigma\|_1 + 10^{-7}

    with the singular values :math:`\sigma` of Z as it is, not centred. It runs from 1 to min(n, d); higher is better:
    fewer dimensions in use mean collapse. It is the same for rotated and uniformly scaled Z, not for shifted Z.

    Source: Garrido et al., ICML 2023, arXiv 2210.02885, equation 1.

    Args:
        Z: Embedding (n, d).

    Example:
        >>> import numpy as np
        >>> round(rankme(np.eye(8)), 3)
        8.0
    """
    sigma = svdvals(Z)
    p = sigma / max(sigma.sum(), np.finfo(float).tiny) + RANK_EPSILON
    return float(np.exp(-(p * np.log(p)).sum()))


def alpha_req(Z: np.ndarray) -> float:
    r"""Compute the power-law exponent of the covariance spectrum.

    The exponent is :math:`\alpha` of :math:`\lambda_k \propto k^{-\alpha}` for falling eigenvalues, by least squares of
    the logarithms with weights 1/k, so that every octave of ranks counts alike; eigenvalues below ``NOISE_FLOOR`` of
    the largest are left out. It runs from 0 (isotropic) upwards and is best near 1: below, the tail is noise; far
    above, few directions hold all the variance. It is the same for shifted, rotated and uniformly scaled Z.

    Source: Agrawal et al., NeurIPS 2022; the optimum at 1 from Stringer et al., Nature 571, 361 (2019).

    Args:
        Z: Embedding (n, d).

    Example:
        >>> import numpy as np
        >>> axes, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(500, 20)))
        >>> axes, _ = np.linalg.qr(axes - axes.mean(axis=0))
        >>> round(alpha_req(axes * np.arange(1, 21) ** -0.75), 2)
        1.5
    """
    spectrum = svdvals(Z - Z.mean(axis=0)) ** 2
    spectrum = spectrum[spectrum > NOISE_FLOOR * spectrum[0]]
    if len(spectrum) < 2:
        return 0.0
    rank = np.arange(1, len(spectrum) + 1)
    slope = np.polyfit(np.log(rank), np.log(spectrum), 1, w=rank**-0.5)[0]
    return float(-slope)


def dirichlet_energy(F: np.ndarray, index: np.ndarray) -> float:
    r"""Compute the Dirichlet energy of functions on a nearest-neighbour graph, relative to unrelated points.

    .. math:: E = \frac{1}{c} \sum_f \frac{\langle (f_i - f_j)^2 \rangle_{(i,j)}}{2 \, \mathrm{Var} f}

    It is the mean over the n k directed edges (Geary's contiguity ratio, 1954): 0 for a function that is constant
    between neighbours, 1 for one that ignores the graph, larger for one that alternates; lower is better. It is the
    same for shifted and scaled functions, and for whatever leaves the graph as it is. Columns without variance are
    left out.

    Args:
        F: Functions (n, c).
        index: Indices (n, k) of each point's neighbours.

    Example:
        >>> import numpy as np
        >>> ring = np.arange(100)
        >>> index = np.stack([np.roll(ring, 1), np.roll(ring, -1)], axis=1)
        >>> round(dirichlet_energy(np.sin(2 * np.pi * ring / 100)[:, None], index), 4)
        0.002
    """
    X = standardise(F)
    varies = X.any(axis=0)
    if not varies.any():
        return 0.0
    X = X[:, varies]
    return float(np.mean([((X - X[column]) ** 2).mean() for column in index.T]) / 2)


def neighbour_agreement(index: np.ndarray, other: np.ndarray) -> float:
    """Share of a point's k nearest neighbours that are also among its k nearest in another space.

    It runs from 0 to 1; higher is better. By chance it is k / (n - 1), so only values for equal n and k can be
    compared. It is the same for whatever keeps the order of distances in both spaces.

    Args:
        index: Indices (n, k) of the nearest latent neighbours.
        other: Indices (n, k) of the nearest neighbours by standardised descriptors.

    Example:
        >>> import numpy as np
        >>> neighbour_agreement(np.array([[1, 2], [0, 2]]), np.array([[2, 1], [3, 2]]))
        0.75
    """
    return float((index[:, :, None] == other[:, None, :]).any(axis=2).mean())
