"""Reports of a property model and of a potential, made up, which tests of the page and of its texts show."""

from __future__ import annotations

from typing import Any

import numpy as np
from pymatgen.core import Lattice, Structure

from matgl_fill.evaluation import LabelErrors, PhysicsResult, PhysicsRow
from matgl_fill.guard import Check
from matgl_fill.report.errors import label_errors_section, physics_section
from matgl_fill.report.model import RunReport


def make_report() -> RunReport:
    return RunReport.model_validate(make_facts())


def make_facts() -> dict[str, Any]:
    """As version 0.1.0 wrote them."""
    rng = np.random.default_rng(0)
    names = ["log bulk modulus", "log shear modulus", "refractive index", "phonon peak", "dielectric", "band gap HSE"]
    units = ["log10 GPa", "log10 GPa", "", "1/cm", "", "eV"]
    changes = [6.1, 4.2, 1.3, 9.8, -1.7, 0.4]
    tasks = [
        {
            "name": name,
            "unit": unit,
            "n": 1000 + 37 * k,
            "mae_before": 0.1234 * 10**k,
            "mae_after": 0.1234 * 10**k * (1 - change / 100),
            "change_percent": change,
            "low": change - 1.1,
            "high": change + 0.9,
            "probes": {"ridge": change + 1, "kernel ridge": change - 1},
        }
        for k, (name, unit, change) in enumerate(zip(names, units, changes, strict=True))
    ]
    proposals = [
        {
            "id": f"fill-{k:04d}",
            "formula": ["SrTiO3", "NaCl", "Li7La3Zr2O12", "Ca2Mg5Si8(HO12)2"][k % 4],
            "parent": f"mp-{1000 + k}",
            "moves": "Ba->Sr, O->S; strain 0.031; rattle 0.12 A" if k % 2 else "Cl->Br",
            "distance": float(rng.gamma(2.0, 0.4)),
            "roughness": float(rng.gamma(3.0, 0.2)),
        }
        for k in range(100)
    ]
    return {
        "title": "Fill-tuning of MEGNet",
        "verdict": {
            "accepted": True,
            "headline": "accepted, interpolated back to weight 0.75",
            "reasons": ["at weight 1: proxy probe: density over budget"],
            "mean_change_percent": 3.35,
            "worst_task": "dielectric",
            "worst_change_percent": -1.7,
            "alpha": 0.75,
        },
        "run": {
            "model": "MEGNet-MP-2018.6.1-Eform",
            "architecture": "MEGNet",
            "n_pool": 4000,
            "n": 100,
            "seed": 0,
            "objective": ["descriptor", "oracle"],
            "oracle": "TensorNet-MatPES-PBE-v2025.1-PES",
            "correction": "512 environments",
            "wall_seconds": 187.4,
            "stages": {"embed pool": 21.0, "analyse roughness": 3.1, "train": 140.2, "evaluate": 22.9},
            "versions": {"matgl": "4.1.2", "torch": "2.9.0", "numpy": "2.3.1"},
            "machine": "x86_64, 2 threads, Python 3.11.2",
        },
        "tasks": tasks,
        "guard": [
            {
                "measure": "prediction drift",
                "value": 0.021,
                "budget": 0.05,
                "unit": "of its deviation",
                "passed": True,
            },
            {
                "measure": "original embedding recovered",
                "value": 0.97,
                "budget": 0.9,
                "unit": "R2",
                "passed": True,
            },
            {
                "measure": "proxy probe: density",
                "value": 1.4,
                "budget": 1.0,
                "unit": "% MAE, resolved",
                "passed": False,
            },
        ],
        "roughness": [
            {"measure": "frustration", "before": 0.412, "after": 0.371},
            {"measure": "local roughness, generated crystals", "before": 1.93, "after": 1.41},
        ],
        "history": {
            "descriptor": list(1.2 * np.exp(-np.linspace(0, 2.5, 50)) + 0.02 * rng.random(50)),
            "oracle": list(0.3 * np.exp(-np.linspace(0, 1.5, 50)) + 0.02 * rng.random(50)),
            "replay": list(0.002 + 0.01 * np.linspace(0, 1, 50)),
        },
        "correction": {"force_error_left_out_before": 0.0612, "force_error_left_out_after": 0.0218, "crystals": 30}
        | {"known_crystals": 160},
        "proposals": proposals,
        "maps": {"before": make_map(0), "after": make_map(2) | {"targets": []}},
        "call": {"model": "base model", "structures": "pool.cif", "n": 100, "seed": 0, "objective": "auto"}
        | {"oracle": None, "labelled": None, "proposals": None},
        "skipped": [{"where": "data/bad.cif", "reason": "two atoms share a site"}],
        "config": {"choice": "roughness", "neighbours": 10, "lr": 2e-3, "steps": 250},
    }


def make_map(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    pool = np.concatenate([rng.normal(size=(2000, 2)), rng.normal(size=(2000, 2)) * [2, 0.5] + [3, 2]])
    rough = np.exp(np.sin(pool[:, 0]) + rng.normal(0, 0.3, 4000))
    targets = pool[np.argsort(-rough)[:200:4]]
    made = np.repeat(targets, 2, axis=0) + rng.normal(0, 0.2, (100, 2))
    facts = {"pool": pool, "roughness": rough, "targets": targets, "proposals": made}
    return {name: array.tolist() for name, array in facts.items()} | {"axes": ["first", "second"]}


def make_crystals(report: RunReport) -> dict[str, Structure]:
    made = [Structure(Lattice.cubic(4 + k % 3), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]) for k in range(100)]
    return {p.id: crystal for p, crystal in zip(report.proposals, made, strict=True)}


FACTS = {
    "run": {
        "model": "m", "architecture": "TensorNet", "n_pool": 10, "n": 3, "seed": 0, "objective": ["oracle"],
        "versions": {}, "machine": "",
    },
    "verdict": {"accepted": True, "headline": "accepted", "alpha": 1.0},
    "guard": [],
    "roughness": [],
}  # fmt: skip


def label_errors(slope: float, n: int = 400) -> LabelErrors:
    """Of a potential whose forces are all too small by a factor, on crystals of two atoms."""
    rng = np.random.default_rng(0)
    forces, energy = rng.normal(size=(2 * n, 3)), rng.normal(size=n) - 4
    stress = np.full((n, 3, 3), np.nan)
    return LabelErrors(
        rows=np.arange(n),
        formulas=[f"A{k % 40}" for k in range(n)],
        crystal=np.repeat(np.arange(n), 2),
        energy=np.stack([energy, energy + 0.1 / slope]),
        forces=np.stack([forces, slope * forces]),
        stress=np.stack([stress, np.zeros_like(stress)]),
        at_rest=np.zeros(n, dtype=bool),
        skipped=[],
    )


def physics(error: float) -> PhysicsResult:
    rows = [PhysicsRow(f"c{k}", f"A{k}", "bulk_modulus_vrh", "GPa", 50.0, 50.0 + error, "") for k in range(9)]
    lost = PhysicsRow("c9", "A9", "bulk_modulus_vrh", "GPa", 50.0, 40.0 if error < 5 else None, "")
    return PhysicsResult((*rows, lost), [])


def potential_report() -> RunReport:
    sections = {
        "label_errors": label_errors_section(label_errors(0.8), label_errors(0.95)),
        "physics": physics_section(physics(8.0), physics(4.0)),
        "guard": [Check.at_most("forces outside of the class", 0.0, 0.02, "relative")],
    }
    return RunReport.model_validate(FACTS | sections)
