"""Settings of Sphinx; .dev_scripts/build_docs.sh builds with them."""

from mmst import __version__

project = 'mmst'
copyright = 'mmst contributors'
release = version = __version__

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.mathjax',
    'sphinx.ext.napoleon',
]
exclude_patterns = ['_build']
root_doc = 'index'

myst_heading_anchors = 3

# The documented names are those that a package lists in `__all__`.
autodoc_default_options = {'members': True, 'member-order': 'bysource'}
autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented_params'
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Names of other projects, whose pages are not fetched to link to them.
nitpick_ignore_regex = [
    (
        'py:.*',
        r'(torch|numpy|mmengine|mmpretrain|matplotlib|pathlib|random)\..*',
    ),
    ('py:class', 'Tensor|Axes|Figure'),
    ('py:exc', 'UnsafeCheckpointError'),
]

html_theme = 'furo'
html_title = f'mmst {version}'
html_theme_options = {'navigation_with_keys': True}
html_copy_source = False
