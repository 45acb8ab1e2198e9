"""What the tools share: configs, toolboxes, command lines, process groups.

Nothing is imported here: :mod:`mmst.launch.distributions` has to work where
no package of OpenMMLab is installed.
"""
