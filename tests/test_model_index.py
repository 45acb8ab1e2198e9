"""model-index.yml and the metafiles name the configs that there are."""

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
METAFILES = {
    path: yaml.safe_load((ROOT / path).read_text())
    for path in yaml.safe_load((ROOT / 'model-index.yml').read_text())[
        'Import'
    ]
}


def test_every_family_has_a_metafile_in_the_index():
    families = [
        path
        for path in (ROOT / 'configs').iterdir()
        if path.is_dir() and path.name != '_base_'
    ]
    assert sorted(METAFILES) == sorted(
        f'configs/{path.name}/metafile.yml' for path in families
    )


def test_metafiles_list_the_configs():
    for path, meta in METAFILES.items():
        there = {
            str(config.relative_to(ROOT))
            for config in (ROOT / path).parent.rglob('*.py')
        }
        listed = [model['Config'] for model in meta['Models']]
        assert sorted(listed) == sorted(there), path


def test_models_have_the_names_of_their_configs():
    models = [model for meta in METAFILES.values() for model in meta['Models']]
    names = [model['Name'] for model in models]
    assert names == [Path(model['Config']).stem for model in models]
    assert len(set(names)) == len(names)


def test_models_are_in_a_collection_of_their_metafile():
    for meta in METAFILES.values():
        collections = {entry['Name'] for entry in meta['Collections']}
        for model in meta['Models']:
            assert model['In Collection'] in collections
