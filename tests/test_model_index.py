"""model-index.yml and the metafiles name the configs that there are."""

import yaml

from tests.conftest import ROOT


def read(path):
    return yaml.safe_load((ROOT / path).read_text())


def test_index_lists_the_metafiles_and_these_the_configs():
    metafiles = read('model-index.yml')['Import']
    root = ROOT / 'configs'
    families = {p.relative_to(root).parts[0] for p in root.rglob('*.py')}
    assert sorted(metafiles) == sorted(
        f'configs/{family}/metafile.yml' for family in families - {'_base_'}
    )
    names = set()
    for path in metafiles:
        meta, folder = read(path), (ROOT / path).parent
        collections = {entry['Name'] for entry in meta['Collections']}
        listed = {model['Config']: model for model in meta['Models']}
        there = {str(p.relative_to(ROOT)) for p in folder.rglob('*.py')}
        assert listed.keys() == there and len(meta['Models']) == len(there)
        for config, model in listed.items():
            name = model['Name']
            assert config.endswith(f'/{name}.py') and name not in names
            assert model['In Collection'] in collections
            names.add(name)
