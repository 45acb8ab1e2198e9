"""What the tools share: configs, command lines, process groups, errors."""
