"""Errors and warnings that matgl_fill raises; each says what is wrong, where, and what to do."""

from __future__ import annotations

from ase.calculators import calculator


class MatglFillError(Exception):
    """Base class of every error that this package raises on purpose.

    The command line prints the message in one line and exits with :attr:`exit_code`.
    """

    exit_code = 1


class InputError(MatglFillError, ValueError):
    """Error about structures, labels or files that cannot be used (missing, empty, unreadable)."""

    exit_code = 2


class CalculationError(InputError, calculator.InputError):
    """Error about atoms whose energy cannot be calculated; it is ASE's ``InputError`` of calculators as well."""


class ModelError(MatglFillError, ValueError):
    """Error about a model that cannot be loaded, or that no adapter understands."""

    exit_code = 3


class GenerationError(MatglFillError, RuntimeError):
    """Error when fewer crystals can be generated than were asked for."""

    exit_code = 4


class OracleError(MatglFillError, RuntimeError):
    """Error about an oracle that is not installed, or that failed on too many crystals."""

    exit_code = 5


class ExecutorError(MatglFillError, RuntimeError):
    """Error about an executor that is not there, or whose workers or scheduler were lost."""

    exit_code = 6


class MatglFillWarning(UserWarning):
    """Warning that something was skipped or adjusted; the message says what and why."""
