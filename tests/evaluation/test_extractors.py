from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity
from safetensors.torch import load_file, save_file
from torch.utils.data import TensorDataset
from torch_fidelity.utils import get_featuresdict_from_dataset

from evaluation.metrics.digits_classifier import NUM_FEATURES
from evaluation.metrics.distances import frechet_distance, inception_score
from evaluation.metrics.extractors import DIGITS, DINOV2, FASHION, INCEPTION, load_extractor
from evaluation.metrics.reference import load_reference
from evaluation.metrics.staged_classifier import StagedClassifier
from evaluation.metrics.statistics import StatisticsAccumulator
from tests.conftest import ROOT
from tests.published.extractors import dinov2_state, inception_state, write_dinov2, write_inception
from tests.published.torch_files import save
from tstitch.errors import UserError

CPU = torch.device("cpu")
CLASSIFIER = ROOT / "models/zoo/digits/classifier.safetensors"


def real_digits(num: int) -> tuple[np.ndarray, np.ndarray]:
    from training.images import load_images

    digits = load_images("digits", None)
    images, labels = digits.images, digits.labels
    chosen = np.random.default_rng(0).permutation(len(images))[:num]
    return np.repeat(images[chosen][..., None], 3, axis=-1), labels[chosen]


def test_real_digits_are_near_their_reference_and_noise_is_far() -> None:
    extractor = load_extractor(DIGITS, CLASSIFIER, CPU)
    reference = load_reference(ROOT / "models/zoo/digits/reference.npz").pool
    assert reference.num == 5000
    assert reference.mu.shape == (NUM_FEATURES,)
    images, labels = real_digits(1000)
    noise = np.random.default_rng(0).integers(256, size=images.shape, dtype=np.uint8)
    distances, scores = [], []
    for batch in (images, noise):
        found = extractor(batch)
        accumulator = StatisticsAccumulator()
        accumulator.update(found.pool)
        distances.append(frechet_distance(accumulator.finish(), reference))
        scores.append(inception_score(found.logits))
    assert distances[0] < 1.5
    assert distances[1] > 50 * distances[0]
    assert scores[0] > 9.5
    assert scores[1] < 5
    assert (extractor(images).logits.argmax(axis=1) == labels).mean() > 0.98


def test_features_of_several_stages_each_have_the_deviation_one(tmp_path: Path) -> None:
    images, _ = real_digits(200)
    torch.manual_seed(0)
    network = StagedClassifier().eval()
    grey = torch.from_numpy(images).float().mean(dim=-1)[:, None] / 127.5 - 1
    with torch.inference_mode():
        network.standardise(network(grey)[0].numpy())
    save_file(network.state_dict(), tmp_path / "classifier.safetensors")
    found = load_extractor(FASHION, tmp_path / "classifier.safetensors", CPU)(images)
    assert found.pool.shape == (200, 384)
    assert found.logits.shape == (200, 10)
    np.testing.assert_allclose(found.pool.std(axis=0), 1, rtol=1e-3)
    first = torch.nn.functional.max_pool2d(network.stages[0](grey[:2]), 2)
    assert first.shape == (2, 32, 16, 16), "a stage's mean is taken before the pooling that halves it"


def test_the_classifier_is_a_torch_fidelity_extractor_like_any_other() -> None:
    extractor = load_extractor(DIGITS, CLASSIFIER, CPU)
    images, _ = real_digits(20)

    class Bytes(TensorDataset):
        def __getitem__(self, index):
            return super().__getitem__(index)[0]

    dataset = Bytes(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous())
    theirs = get_featuresdict_from_dataset(dataset, extractor.network, 7, cuda=False, save_cpu_ram=True, verbose=False)
    ours = extractor(images)
    assert np.allclose(theirs["features"].numpy(), ours.pool, atol=1e-4)
    assert np.allclose(theirs["logits"].numpy(), ours.logits, atol=1e-4)
    metrics = torch_fidelity.calculate_metrics(
        input1=dataset, feature_extractor=DIGITS, feature_extractor_weights_path=str(CLASSIFIER),
        isc=True, isc_splits=1, samples_shuffle=False, cuda=False, save_cpu_ram=True, verbose=False, cache=False,
    )  # fmt: skip
    assert inception_score(ours.logits) == pytest.approx(metrics["inception_score_mean"], rel=1e-5)


def test_inception_goes_through_the_same_call(random_inception: Path) -> None:
    extractor = load_extractor(INCEPTION, random_inception, CPU)
    images = np.random.default_rng(0).integers(256, size=(3, 64, 64, 3), dtype=np.uint8)
    found = extractor(images, with_spatial=True)
    assert found.pool.shape == (3, 2048)
    assert found.logits.shape == (3, 1008)
    assert found.spatial.shape == (3, 17 * 17 * 7)
    assert (found.spatial >= 0).all()
    assert found.spatial.max() > 0
    assert extractor(images).spatial is None


def test_spatial_features_are_seven_channels_of_a_branch_in_the_order_height_width_channel(random_inception) -> None:
    extractor = load_extractor(INCEPTION, random_inception, CPU)
    image = np.random.default_rng(0).integers(256, size=(1, 64, 64, 3), dtype=np.uint8)
    spatial = extractor(image, with_spatial=True).spatial[0].reshape(17, 17, 7)
    seen = []
    hook = extractor.network.Mixed_6d.register_forward_hook(lambda _, __, output: seen.append(output))
    extractor(image)
    hook.remove()
    # The block's output starts with its 1x1 branch.
    assert np.array_equal(spatial, seen[0][0, :7].permute(1, 2, 0).numpy())


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
def test_inception_loads_as_it_is_published(tmp_path: Path, legacy: bool) -> None:
    path = write_inception(tmp_path / "weights.pth", legacy=legacy)
    state = torch.load(path, weights_only=True)
    assert not any(key.endswith("num_batches_tracked") for key in state)
    loaded = load_extractor(INCEPTION, path, CPU).network.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())
    assert {key.rsplit(".", 1)[1] for key in loaded.keys() - state.keys()} == {"num_batches_tracked"}


def test_torch_fidelity_never_reads_the_file_itself(tmp_path: Path, monkeypatch) -> None:
    path = write_inception(tmp_path / "weights.pth")
    real, read = torch.load, []

    def spy(file, **kwargs):
        read.append(file)
        return real(file, **kwargs)

    monkeypatch.setattr(torch, "load", spy)
    load_extractor(INCEPTION, path, CPU)
    assert len(read) == 1
    assert not isinstance(read[0], str | Path)


def test_inception_with_a_missing_key_is_one_clear_line(tmp_path: Path) -> None:
    state = inception_state()
    del state["Mixed_6d.branch1x1.conv.weight"]
    save(state, tmp_path / "weights.pth", legacy=True)
    with pytest.raises(UserError, match=r"Missing key.*Mixed_6d\.branch1x1\.conv\.weight") as caught:
        load_extractor(INCEPTION, tmp_path / "weights.pth", CPU)
    assert "\n" not in str(caught.value)


def test_dinov2_reads_the_published_layout(tmp_path: Path) -> None:
    path = write_dinov2(tmp_path / "dinov2_vitb14_pretrain.pth")
    extractor, state = load_extractor(DINOV2, path, CPU), dinov2_state()
    loaded = extractor.network.model.state_dict()
    assert loaded.keys() == state.keys() - {"mask_token"}
    assert all(torch.equal(loaded[key], state[key]) for key in loaded if key != "pos_embed")  # which is resampled
    images = np.random.default_rng(0).integers(256, size=(2, 64, 64, 3), dtype=np.uint8)
    found = extractor(images)
    assert found.pool.shape == (2, 768)
    assert found.logits is None
    assert np.allclose(extractor(images[1:]).pool, found.pool[1:], atol=1e-4)


@pytest.mark.parametrize("name", [DIGITS, INCEPTION])
def test_bad_weights_are_one_clear_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="do not exist"):
        load_extractor(name, tmp_path / "none", CPU)
    with pytest.raises(UserError, match="are a directory, not a file"):
        load_extractor(name, tmp_path, CPU)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UserError, match="are not those of the extractor"):
        load_extractor(name, tmp_path / "text", CPU)
    torch.save({"wrong": torch.zeros(1)}, tmp_path / "wrong")
    with pytest.raises(UserError, match="are not those of the extractor"):
        load_extractor(name, tmp_path / "wrong", CPU)
    with pytest.raises(UserError, match="unknown extractor 'vgg'; known: digits, fashion, inception-v3-compat"):
        load_extractor("vgg", CLASSIFIER, CPU)


@pytest.mark.parametrize("damage", ["whole numbers", "NaN"])
def test_weights_that_loading_would_take_are_refused(tmp_path: Path, damage: str) -> None:
    state = load_file(CLASSIFIER)
    key = next(key for key, value in state.items() if value.is_floating_point())
    state[key] = state[key].to(torch.int64) if damage == "whole numbers" else torch.full_like(state[key], torch.nan)
    save_file(state, tmp_path / "classifier.safetensors")
    with pytest.raises(UserError, match=r"classifier\.safetensors are not those of the extractor digits: .* holds"):
        load_extractor(DIGITS, tmp_path / "classifier.safetensors", CPU)
