"""The network families whose stages mmst can find: one finder each."""

from . import densenet, equal_blocks, inverted_residual, resnet  # noqa: F401
