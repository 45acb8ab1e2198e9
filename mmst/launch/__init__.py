"""Code that tools share: configs, command lines, process groups, errors."""
