"""Importing this module checks OpenMMLab's packages.

Packages of mmst that need them import it first. They would otherwise
fail with an error that does not say what is wrong with the installation.
"""

from .requirements_check import OPENMMLAB, TORCH, check_requirements

check_requirements((*TORCH, *OPENMMLAB))
