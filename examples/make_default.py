"""Make the default crystals and the default model that ``matgl_fill`` carries in ``matgl_fill/assets``.

Prototype crystals are decorated with elements, relaxed and labelled by CHGNet (the stated oracle, from PyPI, weights
inside), and a small MatGL ``MEGNet`` is pretrained on the formation energies. Run from the repository root with the
``chgnet`` extra installed::

    OMP_NUM_THREADS=1 python examples/make_default.py --out matgl_fill/assets --work work --seed 0

Each stage is kept under ``--work`` and taken up again when the script is restarted. ``--quick`` makes a tiny version
of everything in less than a minute.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import re
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import lightning as pl
import matgl
import numpy as np
import torch
from chgnet.model import CHGNet
from matgl.config import DEFAULT_ELEMENTS
from matgl.ext.pymatgen import Structure2Graph
from matgl.graph.data import MGLDataLoader, MGLDataset
from matgl.models import MEGNet
from matgl.utils.training import ModelLightningModule
from pymatgen.core import Element, Lattice, Structure
from rich.console import Console
from rich.progress import track

warnings.filterwarnings("ignore")
console = Console()
Row = dict[str, Any]
Points = Sequence[np.ndarray]
Quadratic = tuple[np.ndarray, np.ndarray]  # gradient and Hessian

PROTOTYPES = Path(__file__).resolve().parents[1] / "matgl_fill" / "assets" / "prototypes.txt"
PRIMITIVE = {
    "P": np.eye(3),
    "F": np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    "I": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
    "R": np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3,
}
ANIONS = {"O": (-2, 4), "S": (-2, 3), "Se": (-2, 2), "Te": (-2, 2), "F": (-1, 3), "Cl": (-1, 3), "Br": (-1, 2)}
ANIONS |= {"I": (-1, 2), "H": (-1, 1.5), "N": (-3, 2), "P": (-3, 1.5), "As": (-3, 1), "Sb": (-3, 1), "C": (-4, 1)}
TARGET, CUTOFF = "formation_energy_chgnet_eV_per_atom", 5.0
LABELS = ("volume_per_atom_A3", "bulk_modulus_GPa", "max_phonon_frequency_THz")
STEP_LNV, STEP_RATIO, STEP_SITE = 0.03, 0.03, 0.008
EV_A3_TO_GPA, THZ = 160.21766208, 15.633302  # sqrt(eV/A^2/amu) / (2 pi) in THz


def read_table() -> tuple[list[Prototype], dict[str, list[str]]]:
    """The structure types and the classes of elements."""
    lines = [line for line in PROTOTYPES.read_text().splitlines() if line[0] != "#"]
    classes = {name[1:]: elements for name, *elements in (line.split() for line in lines if line[0] == "@")}
    return [Prototype.parse(line) for line in lines if line[0] != "@"], classes


@dataclass(frozen=True)
class Prototype:
    """A structure type: sites are affine in the free coordinates, the shape is given by ``ln(c/a)``."""

    name: str
    lattice: str
    weight: float
    start: tuple[float, ...]
    labels: tuple[str, ...]
    classes: dict[str, str]
    const: np.ndarray
    coef: np.ndarray

    @classmethod
    def parse(cls, line: str) -> Prototype:
        """Read one line of the table."""
        head, *groups = line.split("|")
        name, lattice, weight, *free = head.split()
        values = {k: float(v) for k, v in (f.split("=") for f in free)}
        letters = [k for k in values if k != "c"]
        labels, classes, const, coef = [], {}, [], []
        for group in groups:
            (label, kind), *sites = group.split()
            classes[label] = kind
            for site in sites:
                labels.append(label)
                terms = [_affine(axis, letters) for axis in site.split(",")]
                const.append([t[0] for t in terms])
                coef.append([t[1] for t in terms])
        start = ([math.log(values["c"])] if "c" in values else []) + [values[k] for k in letters]
        shape = (len(labels), 3, len(letters))
        coef_array = np.array(coef, dtype=float).reshape(shape)
        return cls(name, lattice, float(weight), tuple(start), tuple(labels), classes, np.array(const), coef_array)


def _affine(text: str, letters: Sequence[str]) -> tuple[float, list[float]]:
    """Split ``.5+u`` into its constant and its coefficients of ``letters``."""
    const, coef = 0.0, [0.0] * len(letters)
    for sign, term in re.findall(r"([+-]?)([^+-]+)", text):
        factor = -1.0 if sign == "-" else 1.0
        if term in letters:
            coef[letters.index(term)] += factor
        else:
            const += factor * float(Fraction(term))
    return const, coef


@cache
def radius(element: str) -> float:
    """Slater's atomic radius (A); the sum of two is close to a bond length of any kind."""
    return float(Element(element).atomic_radius)


@dataclass(frozen=True)
class Candidate:
    """A decorated prototype. Coordinates ``x`` are (ln volume per atom, [ln c/a], free coordinates)."""

    proto: Prototype
    species: dict[str, str]

    @property
    def key(self) -> str:
        """A name that no other candidate has."""
        return self.proto.name + ":" + "-".join(self.species.values())

    @cached_property
    def elements(self) -> list[str]:
        """The element on every site."""
        return [self.species[label] for label in self.proto.labels]

    def build(self, x: np.ndarray) -> Structure:
        """The primitive cell at ``x``."""
        proto, shift = self.proto, 2 if self.proto.lattice[0] != "c" else 1
        conventional = np.diag([1.0, 1.0, math.exp(x[1]) if proto.lattice[0] != "c" else 1.0])
        if proto.lattice[0] == "h":
            conventional[1] = [-0.5, math.sqrt(3) / 2, 0]
        cell = PRIMITIVE[proto.lattice[1]]
        matrix = cell @ conventional
        matrix *= (math.exp(x[0]) * len(proto.labels) / abs(np.linalg.det(matrix))) ** (1 / 3)
        frac = (proto.const + proto.coef @ x[shift:]) @ np.linalg.inv(cell)
        return Structure(Lattice(matrix), self.elements, np.round(frac % 1.0, 9) % 1.0)

    @property
    def steps(self) -> np.ndarray:
        """Finite-difference steps of ``x``."""
        ratio = [STEP_RATIO] if self.proto.lattice[0] != "c" else []
        return np.array([STEP_LNV, *ratio, *[STEP_SITE] * self.proto.coef.shape[2]])

    def first_guess(self) -> np.ndarray:
        """The cell in which the nearest pair touches, by atomic radii, but not denser than 6 A^3/atom."""
        x = np.array([0.0, *self.proto.start])
        x[0] = max(-3 * math.log(contact_ratio(self.build(x))), math.log(6.0))
        return x


def contact_ratio(structure: Structure) -> float:
    """The smallest distance of two atoms, in sums of their atomic radii."""
    images = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T
    frac = structure.frac_coords
    delta = (frac[None, :, None] - frac[:, None, None] + images) @ structure.lattice.matrix
    radii = np.array([radius(site.specie.symbol) for site in structure])
    ratio = np.linalg.norm(delta, axis=-1) / (radii[:, None, None] + radii[None, :, None])
    return float(ratio[ratio > 1e-6].min())


class Oracle:
    """CHGNet in batches on one core."""

    def __init__(self) -> None:
        """Load the weights inside the package."""
        self.model = CHGNet.load(use_device="cpu", verbose=False)
        self.model.graph_converter.set_isolated_atom_response("ignore")

    def energies(self, structures: Sequence[Structure], batch: int = 32) -> np.ndarray:
        """Energies in eV/atom."""
        out: list[float] = []
        with torch.no_grad():
            for i in range(0, len(structures), batch):
                graphs = [self.model.graph_converter(s) for s in structures[i : i + batch]]
                out.extend(self.model(graphs, task="e")["e"].tolist())
        return np.array(out)

    def forces(self, structures: Sequence[Structure], batch: int = 16) -> list[np.ndarray]:
        """Forces in eV/A, from the gradient in the fractional coordinates."""
        out: list[np.ndarray] = []
        for i in range(0, len(structures), batch):
            graphs = [self.model.graph_converter(s) for s in structures[i : i + batch]]
            energies = self.model(graphs, task="e")["e"] * torch.tensor([len(g.atomic_number) for g in graphs])
            slopes = torch.autograd.grad(energies.sum(), [g.atom_frac_coord for g in graphs])
            cells = [s.lattice.inv_matrix for s in structures[i : i + batch]]
            out.extend(-slope.numpy() @ cell.T for slope, cell in zip(slopes, cells, strict=True))
        return out

    def energies_at(self, items: Iterable[tuple[Candidate, np.ndarray]]) -> list[np.ndarray]:
        """Energies of every candidate at each of its points (rows of the array that goes with it)."""
        pairs = list(items)
        flat = self.energies([c.build(x) for c, points in pairs for x in points])
        return np.split(flat, np.cumsum([len(points) for _, points in pairs])[:-1])


def draw(proto: Prototype, classes: dict[str, list[str]], rng: np.random.Generator) -> dict[str, str] | None:
    """One random decoration, or None where it is not charge-balanced or breaks a rule of size."""
    chosen: dict[str, str] = {}
    charge = 0
    for label, kind in proto.classes.items():
        if not (options := classes[kind]):
            return None
        weights = np.array([ANIONS[el][1] for el in options]) if kind in "-y" else None
        el = str(rng.choice(options, p=None if weights is None else weights / weights.sum()))
        if kind in "+s":
            state = int(rng.choice([q for q in Element(el).common_oxidation_states if q > 0]))
        else:
            state = ANIONS[el][0] if kind in "-y" else int(kind == "u")
        too_large = kind == "s" and radius(el) > radius(chosen["A"])
        if el in chosen.values() or too_large or (kind == "y" and radius(el) < radius(chosen["X"])):
            return None
        chosen[label] = el
        charge += state * proto.labels.count(label)
    return chosen if charge == 0 else None


def candidates(quick: bool, seed: int, total: int) -> tuple[list[Candidate], list[Candidate]]:
    """Elemental crystals, and decorations of the other prototypes in a random order, with each prototype's weight."""
    protos, classes = read_table()
    protos = [p for p in protos if not quick or len(p.labels) <= 5]
    pool = set(classes["quick" if quick else "*"])
    classes = {k: [el for el in elements if el in pool] for k, elements in classes.items()}
    nonmetals = set(ANIONS) - {"As", "Te"}
    cations = [el for el in classes["*"] if el not in nonmetals and max(Element(el).common_oxidation_states) > 0]
    classes |= {"+": cations, "s": cations} | {key: [el for el in ANIONS if el in pool] for key in "-y"}
    pure = [Candidate(p, {"A": el}) for p in protos if len(p.classes) == 1 for el in classes[p.classes["A"]]]
    mixed: list[Candidate] = []
    protos = [p for p in protos if len(p.classes) > 1]
    for number, proto in enumerate(protos):
        wanted = proto.weight * total / sum(p.weight for p in protos)
        rng = np.random.default_rng([seed, number])
        unique: dict[str, Candidate] = {}  # one of each prototype and composition
        for _ in range(20 * int(wanted) + 400):
            if (species := draw(proto, classes, rng)) is not None:
                candidate = Candidate(proto, species)
                unique.setdefault("".join(sorted(candidate.elements)), candidate)
            if len(unique) >= wanted:
                break
        mixed.extend(unique.values())
    return pure, [mixed[i] for i in np.random.default_rng(seed).permutation(len(mixed))]


def stencil(x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """Points for gradient and Hessian: the centre, +-h along each axis, +h along each pair of axes."""
    k = len(x)
    pairs = [(i, j) for i in range(k) for j in range(i)]
    unit = np.eye(k)
    offsets = [np.zeros(k), *unit, *-unit, *[unit[i] + unit[j] for i, j in pairs]]
    return x + np.array(offsets) * h


def derivatives(energies: np.ndarray, k: int) -> Quadratic:
    """Gradient and Hessian, in units of the steps, from the energies of ``stencil``."""
    centre, up, down, mixed = energies[0], energies[1 : k + 1], energies[k + 1 : 2 * k + 1], energies[2 * k + 1 :]
    hessian = np.diag(up + down - 2 * centre)
    pairs = [(i, j) for i in range(k) for j in range(i)]
    for (i, j), value in zip(pairs, mixed, strict=True):
        hessian[i, j] = hessian[j, i] = value - up[i] - up[j] + centre
    return (up - down) / 2, hessian


def relax(oracle: Oracle, batch: Sequence[Candidate], sweeps: int = 6) -> list[Row]:
    """Relax a batch inside its symmetry: coarse volume scan, Newton steps in all coordinates, equation of state."""
    coarse = np.linspace(math.log(0.80), math.log(1.30), 8) * 3
    starts = [c.first_guess() + np.array([[s] + [0.0] * len(c.proto.start) for s in coarse]) for c in batch]
    found = oracle.energies_at(zip(batch, starts, strict=True))
    best = [points[int(np.argmin(e))] for points, e in zip(starts, found, strict=True)]
    energy, target = [math.inf] * len(batch), list(best)
    scale, model = [1.0] * len(batch), [(np.zeros(1), np.eye(1))] * len(batch)
    for sweep in range(sweeps):
        todo = [i for i, c in enumerate(batch) if sweep < 3 or len(c.proto.start) > 0]
        if not todo:
            break
        grids = [stencil(target[i], batch[i].steps) for i in todo]
        found = oracle.energies_at(zip([batch[i] for i in todo], grids, strict=True))
        for i, values in zip(todo, found, strict=True):
            if values[0] <= energy[i]:
                best[i], energy[i], scale[i] = target[i], values[0], min(1.0, 2 * scale[i])
                model[i] = derivatives(values, len(best[i]))
            else:
                scale[i] *= 0.4
            target[i] = best[i] + newton(*model[i], 3 * scale[i]) * batch[i].steps
    return equation_of_state(oracle, batch, best, model)


def newton(gradient: np.ndarray, hessian: np.ndarray, limit: float) -> np.ndarray:
    """Newton step down the energy (in units of the steps), no component over ``limit``."""
    values, vectors = np.linalg.eigh(hessian)
    step = -vectors @ ((vectors.T @ gradient) / np.maximum(np.abs(values), 1e-6))
    return step * min(1.0, limit / max(np.abs(step).max(), 1e-12))


def equation_of_state(
    oracle: Oracle, batch: Sequence[Candidate], best: Points, model: Sequence[Quadratic]
) -> list[Row]:
    """Birch-Murnaghan fit along the path on which shape and free coordinates follow the volume."""
    strain = np.linspace(-0.06, 0.06, 7)
    paths = []
    for candidate, x, (gradient, hessian) in zip(batch, best, model, strict=True):
        base = x + newton(gradient, hessian, 1.0) * candidate.steps
        slope = np.zeros_like(x)
        slope[0] = 1.0
        if len(x) > 1:
            inner = newton(hessian[1:, 0], hessian[1:, 1:], 2.0)
            slope[1:] = inner * candidate.steps[1:] / candidate.steps[0]
        paths.append(base + strain[:, None] * slope)
    found = oracle.energies_at(zip(batch, paths, strict=True))
    return [fit_row(c, path, e, is_relaxed(*m)) for c, path, e, m in zip(batch, paths, found, model, strict=True)]


def is_relaxed(gradient: np.ndarray, hessian: np.ndarray) -> bool:
    """Whether less than 2 meV/atom is left to gain, at a minimum (inside the symmetry)."""
    values, vectors = np.linalg.eigh(hessian)
    gain = 0.5 * np.sum((vectors.T @ gradient) ** 2 / np.maximum(np.abs(values), 1e-5))
    return bool(gain < 2e-3 and values.min() > -1e-4)


def fit_row(candidate: Candidate, path: np.ndarray, energies: np.ndarray, relaxed: bool) -> Row:
    """Volume and bulk modulus of one crystal, or the reason for which it is discarded."""
    volumes = np.exp(path[:, 0])
    row: Row = {"key": candidate.key, "prototype": candidate.proto.name, "bad": "no minimum"}
    row["energy"] = float(energies.min())
    fit = np.polynomial.Polynomial.fit(y := volumes ** (-2 / 3), energies, 3)
    roots = [r.real for r in fit.deriv().roots() if abs(r.imag) < 1e-9 and y.min() < r.real < y.max()]
    roots = [r for r in roots if fit.deriv(2)(r) > 0]
    if not roots:
        return row
    volume = roots[0] ** -1.5
    bulk = 4 / 9 * volume ** (-7 / 3) * fit.deriv(2)(roots[0]) * EV_A3_TO_GPA
    weights = (math.log(volume) - path[0, 0]) / (path[-1, 0] - path[0, 0])
    structure = candidate.build(path[0] + weights * (path[-1] - path[0]))
    residual = float(np.sqrt(np.mean((fit(y) - energies) ** 2)))
    checks = {
        "not relaxed": not relaxed,
        "bulk modulus": not 3 < bulk < 600,
        "volume": not 3 < volume < 130,
        "bad fit": residual > max(5e-4, 0.05 * float(np.ptp(energies))),
        "atoms too near": contact_ratio(structure) < 0.7,
    }
    row |= {"bad": next((name for name, failed in checks.items() if failed), ""), "energy": float(fit(roots[0]))}
    row |= {"volume_per_atom_A3": volume, "bulk_modulus_GPa": bulk, "structure": as_dict(structure)}
    return row | {"formula": structure.composition.reduced_formula}


def as_dict(structure: Structure) -> Row:
    """Lattice, species and fractional coordinates, rounded."""
    return {
        "lattice": np.round(structure.lattice.matrix, 6).tolist(),
        "species": [site.specie.symbol for site in structure],
        "frac_coords": (np.round(structure.frac_coords, 6) % 1.0).tolist(),
    }


def as_structure(row: Row) -> Structure:
    """Inverse of ``as_dict``."""
    return Structure(Lattice(row["structure"]["lattice"]), row["structure"]["species"], row["structure"]["frac_coords"])


def read_rows(path: Path) -> list[Row]:
    """The finished rows of a stage."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def relax_all(oracle: Oracle, todo: Sequence[Candidate], cache: Path, wanted: int, chunk: int = 24) -> list[Row]:
    """Relax in chunks until ``wanted`` good crystals are there; what ``cache`` has is not done again."""
    keys = {candidate.key for candidate in todo}
    done = [row for row in read_rows(cache) if row["key"] in keys]
    known = {row["key"] for row in done}
    todo = [c for c in todo if c.key not in known]
    good = sum(not row["bad"] for row in done)
    with cache.open("a") as file:
        for i in track(range(0, len(todo), chunk), f"relax {cache.stem}", console=console, refresh_per_second=0.2):
            if good >= wanted:
                break
            rows = relax(oracle, todo[i : i + chunk])
            file.writelines(json.dumps(row) + "\n" for row in rows)
            file.flush()
            done.extend(rows)
            good += sum(not row["bad"] for row in rows)
    return done


def label_phonons(oracle: Oracle, rows: Sequence[Row], cache: Path, wanted: int, h: float = 0.015) -> list[Row]:
    """The first ``wanted`` rows at rest, with the highest zone-centre frequency (imaginary ones count as negative)."""
    known = {r["key"]: r for r in read_rows(cache)}
    labelled: list[Row] = []
    for row in track(rows, "phonons", console=console, refresh_per_second=0.2):
        if len(labelled) == wanted:
            break
        if row["key"] not in known:
            top, force = top_frequency(oracle, as_structure(row), h)
            known[row["key"]] = {"key": row["key"], "max_phonon_frequency_THz": top, "force": force}
            with cache.open("a") as file:
                file.write(json.dumps(known[row["key"]]) + "\n")
        if known[row["key"]]["force"] < 0.1 and known[row["key"]]["max_phonon_frequency_THz"] > 0.5:
            labelled.append(row | known[row["key"]])
    return labelled


def top_frequency(oracle: Oracle, structure: Structure, h: float) -> tuple[float, float]:
    """Highest optical zone-centre frequency (THz) by central differences, and the largest force at rest (eV/A)."""
    n = len(structure)
    moved = []
    for i, sign in [(i, sign) for i in range(3 * n) for sign in (h, -h)]:
        copy = structure.copy()
        copy.translate_sites([i // 3], np.eye(3)[i % 3] * sign, frac_coords=False)
        moved.append(copy)
    forces = np.array(oracle.forces(moved), dtype=float).reshape(3 * n, 2, 3 * n)
    hessian = (forces[:, 1] - forces[:, 0]) / (2 * h)
    masses = np.repeat([float(site.specie.atomic_mass) for site in structure], 3)
    rigid = np.tile(np.eye(3), (n, 1)) * np.sqrt(masses / masses.sum() * 3)[:, None]
    optical = np.linalg.svd(rigid.T)[2][3:]
    values = np.linalg.eigvalsh(optical @ ((hessian + hessian.T) / 2 / np.sqrt(np.outer(masses, masses))) @ optical.T)
    return float(np.sign(values[-1]) * math.sqrt(abs(values[-1])) * THZ), float(np.abs(forces.mean(1)).max())


def add_formation_energies(rows: Sequence[Row], elemental: Sequence[Row]) -> list[Row]:
    """Good rows with their formation energies against the lowest elemental crystals."""
    lowest: dict[str, float] = defaultdict(lambda: math.inf)
    for row in elemental:
        element = row["key"].split(":")[1]
        lowest[element] = min(lowest[element], row["energy"])
    good = [dict(row) for row in [*elemental, *rows] if not row["bad"]]
    for row in good:
        reference = np.mean([lowest[el] for el in row["structure"]["species"]])
        row[TARGET] = row["energy"] - float(reference)
    return [row for row in good if -5 < row[TARGET] < 1.5]


def split(rows: Sequence[Row], n_ship: int, seed: int) -> tuple[list[Row], list[Row], list[Row]]:
    """Pool, evaluation candidates and the rest, without a common reduced formula; prototypes take turns."""
    queues: dict[str, list[Row]] = defaultdict(list)
    for i in np.random.default_rng([seed, 1]).permutation(len(rows)):
        if len(set(rows[i]["structure"]["species"])) > 1:
            queues[rows[i]["prototype"]].append(rows[i])
    shipped: dict[str, Row] = {}
    wanted = 2 * n_ship + max(2, n_ship // 8)
    while len(shipped) < wanted and any(queues.values()):
        for queue in queues.values():
            while queue and queue[-1]["formula"] in shipped:
                queue.pop()
            if queue and len(shipped) < wanted:
                shipped[queue[-1]["formula"]] = queue[-1]
    chosen = list(shipped.values())
    pool, rest = chosen[: 2 * n_ship : 2], [row for row in rows if row["formula"] not in shipped]
    return pool, chosen[1 : 2 * n_ship : 2] + chosen[2 * n_ship :], rest


def write_crystals(path: Path, rows: Sequence[Row], prefix: str, labels: Sequence[str]) -> None:
    """Write gzipped JSON lines without a time stamp."""
    lines = []
    for number, row in enumerate(rows, 1):
        record = {"id": f"{prefix}-{number:04d}", **{k: row[k] for k in ("formula", "prototype", "structure")}}
        lines.append(json.dumps(record | {name: round(float(row[name]), 5) for name in labels}, separators=(",", ":")))
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), 9, mtime=0))


def loaders(rows: Sequence[Row], val: Sequence[Row], batch: int = 32) -> tuple[Any, ...]:
    """MatGL data loaders of two sets of crystals."""
    converter = Structure2Graph(element_types=DEFAULT_ELEMENTS, cutoff=CUTOFF)
    sets = []
    for part in (rows, val):
        labels = {TARGET: [row[TARGET] for row in part]}
        with tempfile.TemporaryDirectory() as root:
            structures = [as_structure(row) for row in part]
            sets.append(
                MGLDataset(structures=structures, labels=labels, converter=converter, save_cache=False, root=root)
            )
    return MGLDataLoader(*sets, batch_size=batch, num_workers=0)


def pretrain(train: Sequence[Row], val: Sequence[Row], seed: int, epochs: int) -> MEGNet:
    """A MEGNet of default size fitted to the formation energies; it predicts eV/atom by itself."""
    pl.seed_everything(seed, verbose=False)
    mean, std = float(np.mean([r[TARGET] for r in train])), float(np.std([r[TARGET] for r in train]))
    model = MEGNet(element_types=DEFAULT_ELEMENTS, cutoff=CUTOFF)
    options = {"data_mean": mean, "data_std": std, "lr": 2e-3, "decay_steps": epochs, "decay_alpha": 0.005}
    module = ModelLightningModule(model, loss="l1_loss", **options)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    bar = pl.pytorch.callbacks.RichProgressBar(refresh_rate=50)
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", gradient_clip_val=1.0, callbacks=[bar], **quiet)
    trainer.fit(module, *loaders(train, val))
    with torch.no_grad():
        last = model.output_proj.last_linear
        last.weight.mul_(std)
        last.bias.mul_(std).add_(mean)
    model.feature_dict = {}
    return model


def mean_absolute_error(model: MEGNet, rows: Sequence[Row]) -> float:
    """MAE of the bare model in eV/atom."""
    module, errors = ModelLightningModule(model).eval(), []
    with torch.no_grad():
        for graph, lattice, state, target in loaders(rows, rows[:1])[0]:
            errors.extend((module(graph, lattice, state_attr=state) - target).abs().reshape(-1).tolist())
    return float(np.mean(errors))


def make_crystals(args: argparse.Namespace) -> tuple[list[Row], list[Row], list[Row]]:
    """Relax, label, divide and write the crystals."""
    total = args.n_pretrain + 2 * args.n_ship
    pure, mixed = candidates(args.quick, args.seed, 300 if args.quick else max(5400, int(1.5 * total)))
    oracle = Oracle()
    pure_rows = relax_all(oracle, pure, args.work / f"elements-{args.seed}.jsonl", len(pure))
    rows = relax_all(oracle, mixed, args.work / f"crystals-{args.seed}.jsonl", int(1.12 * total))
    outcomes = Counter(row["bad"] or "good" for row in pure_rows + rows)
    console.print("crystals relaxed:", sum(outcomes.values()), dict(outcomes))
    pool, evaluation, rest = split(add_formation_energies(rows, pure_rows), args.n_ship, args.seed)
    evaluation = label_phonons(oracle, evaluation, args.work / f"phonons-{args.seed}.jsonl", args.n_ship)
    write_crystals(args.out / "crystals_pool.jsonl.gz", pool, "pool", [])
    write_crystals(args.out / "crystals_eval.jsonl.gz", evaluation, "eval", [*LABELS, TARGET])
    return pool, evaluation, rest


def report(args: argparse.Namespace, sets: dict[str, Sequence[Row]], model: MEGNet, seconds: float) -> None:
    """Print what was made."""
    for name, rows in sets.items():
        elements = {el for row in rows for el in row["structure"]["species"]}
        counts = f"{len(rows)} crystals, {len(elements)} elements, {len({r['prototype'] for r in rows})} prototypes"
        error = "" if name == "pool" else f", MAE {mean_absolute_error(model, rows):.4f} eV/atom"
        console.print(f"{name}: {counts}{error}")
    for label in (*LABELS, TARGET):
        values = np.percentile([row[label] for row in sets["eval"]], [0, 5, 25, 50, 75, 95, 100]).round(3)
        console.print(f"{label} of eval, percentiles 0 5 25 50 75 95 100: {values.tolist()}")
    files = sorted(p for p in args.out.rglob("*") if p.is_file())
    console.print({str(p.relative_to(args.out)): p.stat().st_size for p in files}, f"wall time {seconds:.0f} s")


def main() -> None:
    """Read the options and make everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("matgl_fill/assets"), help="folder for the results")
    parser.add_argument("--work", type=Path, default=Path("work"), help="folder for finished stages")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-pretrain", type=int, default=3000, help="least number of crystals for pretraining")
    parser.add_argument("--n-ship", type=int, default=300, help="crystals in the pool and in the evaluation set")
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--quick", action="store_true", help="a tiny version of everything; give another --out")
    args = parser.parse_args()
    if args.quick:
        args.n_pretrain, args.n_ship, args.epochs, args.work = 24, 4, 2, args.work / "quick"
    started = time.time()
    torch.set_num_threads(1)
    for folder in (args.out, args.work):
        folder.mkdir(parents=True, exist_ok=True)
    pool, evaluation, rest = make_crystals(args)
    formulas = sorted({row["formula"] for row in rest})
    held = set(np.random.default_rng([args.seed, 2]).permutation(formulas)[: len(formulas) // 10])
    train, val = [r for r in rest if r["formula"] not in held], [r for r in rest if r["formula"] in held]
    fitted = args.work / f"model-{args.seed}-{len(rest)}-{args.epochs}"
    model = matgl.load_model(fitted) if fitted.exists() else pretrain(train, val, args.seed, args.epochs)
    note = "formation energy in eV/atom against CHGNet's elemental crystals; made by examples/make_default.py"
    for folder in (fitted, args.out / "default_model"):
        model.save(folder, metadata={"description": note, "oracle": "CHGNet 0.3.0"})
    sets = {"pool": pool, "eval": evaluation, "train": train, "validation": val}
    report(args, sets, matgl.load_model(args.out / "default_model"), time.time() - started)


if __name__ == "__main__":
    main()
