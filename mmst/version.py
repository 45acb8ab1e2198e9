"""The version, which setup.py reads without importing mmst."""

__version__ = '0.1.0'
