"""The manifest, missing files and checksums."""

from pathlib import Path

import pytest
import yaml

from models.weights.catalog import load_manifest, names_of_pair
from models.weights.published import missing_message, read_manifest, verify
from settings.names import DATA_SETS
from tests.conftest import ROOT
from tstitch.errors import UserError

ENTRIES = {
    "net": {"license": "MIT", "provenance": "us", "files": [{"file": "net.pt", "url": "https://x/net.pt"}]},
    "vae": {
        "license": "MIT",
        "provenance": "them",
        "files": [{"file": f"vae/{name}", "url": f"https://x/{name}"} for name in ("config.json", "weights.bin")],
    },
}


def test_the_manifest_names_every_file_that_a_pair_needs() -> None:
    files = {f"weights/{file.file}" for entry in load_manifest().values() for file in entry.files}
    wanted = set()
    for group in ("denoiser", "autoencoder"):
        for path in (ROOT / "configs" / group).glob("*.yaml"):
            place = yaml.safe_load(path.read_text())["path"]
            wanted |= {place} if Path(place).suffix else {f"{place}/config.json"}
    for path in (ROOT / "configs/data").glob("*.yaml"):
        evaluation = yaml.safe_load(path.read_text())["evaluation"]
        wanted |= {evaluation["reference"], evaluation["extractor_weights"]}
    assert {name for name in wanted if name.startswith("weights/")} <= files


@pytest.mark.parametrize("path", sorted((ROOT / "configs/pair").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_pair_stands_for_its_networks_and_its_evaluation(path: Path) -> None:
    names = names_of_pair(path.stem, load_manifest())
    if path.stem.startswith(DATA_SETS):
        assert names == []
        return
    num_denoisers = sum("/denoiser@" in str(default) for default in yaml.safe_load(path.read_text())["defaults"])
    assert len(names) == num_denoisers + 3
    assert {"inception"} < set(names)
    assert sum("reference" in name for name in names) == 1
    assert bool({"sd_vae_ft_ema", "vq_f8"} & set(names))


def test_second_sources_stand_in_for_an_entry_and_say_where_they_lie() -> None:
    manifest = load_manifest()
    second = [entry for entry in manifest.values() if entry.stands_in_for is not None]
    assert [entry.stands_in_for for entry in second] == ["dit_xl_256"]
    assert all(Path(file.file).parent == Path(second[0].path) for file in second[0].files)


def test_a_missing_file_says_where_it_is_published(tmp_path: Path) -> None:
    manifest = read_manifest(ENTRIES)
    message = missing_message([tmp_path / "net.pt"], manifest, tmp_path)
    assert "published by us at https://x/net.pt" in message
    assert message.endswith("python -m scripts.weights fetch net")
    assert missing_message([tmp_path / "own.pt"], manifest, tmp_path).endswith("own.pt do not exist")


def test_several_missing_components_name_one_command(tmp_path: Path) -> None:
    manifest = read_manifest(ENTRIES)
    missing = [tmp_path / "net.pt", tmp_path / "vae/config.json", tmp_path / "vae/weights.bin"]
    assert missing_message(missing, manifest, tmp_path).endswith("scripts.weights fetch net vae")
    assert missing_message(missing, manifest, tmp_path, "p", ["net", "vae", "x"]).endswith("fetch pair=p")
    assert missing_message(missing, manifest, tmp_path, "p", ["net"]).endswith("scripts.weights fetch net vae")
    both = missing_message([*missing[1:], tmp_path / "own.pt"], manifest, tmp_path, "p", ["vae"])
    assert both.endswith("fetch vae") and f"nobody is known to publish {tmp_path / 'own.pt'}" in both


def test_verify_names_what_is_missing_or_has_another_size(tmp_path: Path) -> None:
    entries = {**ENTRIES, "sized": {**ENTRIES["net"], "files": [{**ENTRIES["net"]["files"][0], "size": 3}]}}
    manifest = read_manifest(entries)
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae/weights.bin").write_bytes(b"x")
    with pytest.raises(UserError, match=r"config\.json does not exist; run: python -m scripts\.weights fetch vae"):
        verify(manifest["vae"], tmp_path)
    (tmp_path / "net.pt").write_bytes(b"four")
    with pytest.raises(UserError, match="has 4 bytes, want 3"):
        verify(manifest["sized"], tmp_path)


def test_a_damaged_list_of_checksums_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(b"x")
    (tmp_path / "checksums.json").write_text("[")
    with pytest.raises(UserError, match=r"checksums\.json is not valid JSON"):
        verify(read_manifest(ENTRIES)["net"], tmp_path)
