"""Stimulative training for the OpenMMLab toolboxes."""

from .requirements_check import check_requirements
from .version import __version__

# Before the imports below, which would otherwise fail with an error that does
# not say what is wrong with the installation.
check_requirements()

from . import engine, models, subnets  # noqa: E402  registers our modules

__all__ = ['__version__', 'engine', 'models', 'subnets']
