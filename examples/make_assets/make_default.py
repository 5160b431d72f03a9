"""Make the default crystals and the default model that ``matgl_fill`` carries in ``matgl_fill/structures/assets``.

Prototype crystals are decorated with elements, relaxed and labelled by CHGNet (the stated oracle, from PyPI, weights
inside), and a small MatGL ``MEGNet`` is pretrained on the formation energies. Run from the repository root with the
``chgnet`` extra installed::

    export OMP_NUM_THREADS=1
    python examples/make_assets/make_default.py --out matgl_fill/structures/assets --work work --seed 0

Each stage is kept under ``--work`` and taken up again when the script is restarted. ``--quick`` makes a tiny version
of everything in less than a minute.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import matgl
import numpy as np
import torch
from chgnet.model import CHGNet
from matgl.models import MEGNet
from pretrain_megnet import (
    TARGET,
    Row,
    as_dict,
    as_structure,
    mean_absolute_error,
    pretrain,
    read_rows,
)
from prototypes import (
    Candidate,
    candidates,
    contact_ratio,
)
from pymatgen.core import Structure
from rich.console import Console
from rich.progress import track

from matgl_fill.utils.machine import package_facts

warnings.filterwarnings("ignore")
console = Console()
Points = Sequence[np.ndarray]
Quadratic = tuple[np.ndarray, np.ndarray]  # gradient and Hessian

LABELS = ("volume_per_atom_A3", "bulk_modulus_GPa", "max_phonon_frequency_THz")
EV_A3_TO_GPA, THZ = 160.21766208, 15.633302  # sqrt(eV/A^2/amu) / (2 pi) in THz


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
    parser.add_argument("--out", type=Path, default=Path("matgl_fill/structures/assets"), help="folder for the results")
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
    note = "formation energy in eV/atom against CHGNet's elemental crystals; made by examples/make_assets"
    for folder in (fitted, args.out / "default_model"):
        model.save(folder, metadata={"description": note, "oracle": "CHGNet 0.3.0", "matgl_fill": package_facts()})
    sets = {"pool": pool, "eval": evaluation, "train": train, "validation": val}
    report(args, sets, matgl.load_model(args.out / "default_model"), time.time() - started)


if __name__ == "__main__":
    main()
