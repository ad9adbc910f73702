"""Estimators in files: what comes back is what was saved, and nothing but data is read."""

import json
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

import bayesgmm
from bayesgmm import BayesianGaussianMixture, ConjugatePrior, GaussianMixture, MCMCGaussianMixture
from bayesgmm.io.records import pack, unpack
from bayesgmm.io.saving import FORMAT, HEADER

RNG = np.random.default_rng(0)
X = pd.DataFrame(
    np.concatenate([RNG.normal(-4, 1, (30, 2)), RNG.normal(4, 1, (30, 2))]),
    columns=["height", "weight"],
    index=[f"row {i}" for i in range(60)],
)
SHORT = {"n_samples": 20, "n_warmup": 20, "n_chains": 2, "progress_bar": False, "random_state": 0}
NUMBERS = ConjugatePrior([0, 0], 0.1, 4.0, np.eye(2))
MODELS = {
    "em": GaussianMixture(2, random_state=np.random.RandomState(1)),
    "em, prior": GaussianMixture(2, covariance_type="EII", prior="data-scaled", random_state=0),
    "em, arrays": GaussianMixture(2, means_init=[[-4, -4], [4, 4]], random_state=2),
    "vb": BayesianGaussianMixture(4, moves=False, random_state=0),
    "gibbs": MCMCGaussianMixture(component_prior=NUMBERS, moves=False, **SHORT),
}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def plain():
    return GaussianMixture(2, random_state=0).fit(X)


@pytest.fixture(params=MODELS)
def model(request, tmp_path):
    fitted = MODELS[request.param]
    if not hasattr(fitted, "labels_"):
        fitted.fit(X)
    fitted.save(tmp_path / "model.npz")
    return fitted


def same(a, b, place=""):
    """Values, arrays and records equal leaf by leaf, and of one type."""
    assert type(a) is type(b), place
    if isinstance(a, np.random.RandomState):
        a, b = a.get_state(), b.get_state()
    if hasattr(a, "kwds") and hasattr(a, "dist"):
        a, b = (a.args, a.kwds), (b.args, b.kwds)
    if isinstance(a, np.ndarray) and a.dtype == object:
        a, b = a.tolist(), b.tolist()
    for kind, equal in PANDAS.items():
        if isinstance(a, kind):
            return equal(a, b)
    if hasattr(a, "__dataclass_fields__"):
        a, b = vars(a), vars(b)
    if isinstance(a, dict):
        assert list(a) == list(b), place
        a, b = list(a.values()), list(b.values())
    if isinstance(a, tuple | list):
        assert len(a) == len(b), place
        for i, pair in enumerate(zip(a, b, strict=True)):
            same(*pair, f"{place}.{i}")
    elif not callable(a):
        np.testing.assert_array_equal(a, b, err_msg=place, strict=True)
    return None


PANDAS = {
    pd.Index: pd.testing.assert_index_equal,
    pd.Series: pd.testing.assert_series_equal,
    pd.DataFrame: pd.testing.assert_frame_equal,
}


# --- there and back


def test_every_attribute_comes_back(model, tmp_path):
    again = bayesgmm.load(tmp_path / "model.npz")
    assert type(again) is type(model)
    kept, found = model._kept_state(), again._kept_state()
    assert set(model.get_params()) < set(kept)
    for name in kept:
        same(kept[name], found[name], name)
    assert kept.keys() == found.keys()
    assert [file.name for file in tmp_path.iterdir()] == ["model.npz"]


def test_it_predicts_draws_and_goes_on(model, tmp_path):
    again = bayesgmm.load(str(tmp_path / "model.npz"))
    for ask in ("predict", "predict_proba", "score_samples"):
        np.testing.assert_array_equal(getattr(model, ask)(X), getattr(again, ask)(X))
    same(model.sample(5), again.sample(5))
    pd.testing.assert_frame_equal(model.summary(), again.summary())
    pd.testing.assert_frame_equal(model.uncertainty(X), again.uncertainty(X))
    model.save(tmp_path / "model.npz")  # a RandomState has gone on
    again = bayesgmm.load(tmp_path / "model.npz")
    models = [found.set_params(warm_start=True).fit(X) for found in (model, again)]
    np.testing.assert_array_equal(*(found.means_ for found in models))


def test_a_posterior_for_arviz(tmp_path):
    import xarray

    path, model = tmp_path / "model.nc", MODELS["gibbs"]
    if not hasattr(model, "labels_"):
        model.fit(X)
    model.save(path)
    with xarray.open_datatree(path, engine="h5netcdf") as tree:
        for group in ("posterior", "log_likelihood", "observed_data"):
            found = tree[group].to_dataset()
            xarray.testing.assert_equal(found, model.posterior_[group].to_dataset())
    kept, found = model._kept_state(), bayesgmm.load(path)._kept_state()
    same(dict(sorted(kept.items())), dict(sorted(found.items())))


def test_values():
    given = {
        "numbers": [1, 2.5, np.inf, -np.inf, True, None, "text", (1, [2])],
        "scalars": [np.float32(1.5), np.int64(3), np.bool_(True)],
        "keys": {1: "a", ("b", 2): np.arange(3)},
        "empty": np.zeros((0, 2)),
        "names": np.array(["a", "b"], object),
        "range": range(2, 8, 3),
        "index": pd.Index([3, 1, 2], name="id"),
        "steps": pd.RangeIndex(2, 10, 3),
        "levels": pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", "y"]),
        "series": pd.Series([1.0, "a", None], index=["x", "y", "z"], name="s"),
        "frame": pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}, index=[5, 6]),
    }
    days = pd.date_range("2020-01-01", periods=3)
    arrays = {}
    text = json.dumps(pack([given, days, np.nan], "given", arrays), allow_nan=False)
    found, days_found, nan = unpack(json.loads(text), arrays)
    same(given, found)
    assert (days == days_found).all() and np.isnan(nan)


# --- what is refused


def test_what_cannot_be_saved(plain, tmp_path):
    with pytest.raises(NotFittedError):
        GaussianMixture().save(tmp_path / "model.npz")
    for name in ("model", "model.pkl"):
        with pytest.raises(ValueError, match=r"must end in \.npz, or in \.nc for a posterior.*got"):
            plain.save(tmp_path / name)
    with pytest.raises(ValueError, match="a GaussianMixture has none: name it .npz"):
        plain.save(tmp_path / "model.nc")
    with pytest.raises(FileNotFoundError, match="there is no folder .*nowhere"):
        plain.save(tmp_path / "nowhere" / "model.npz")
    own = type("Own", (GaussianMixture,), {})
    with pytest.raises(TypeError, match="save knows 'GaussianMixture'.*got a Own: pickle it"):
        own(2, random_state=0).fit(X).save(tmp_path / "model.npz")
    other = GaussianMixture(2, random_state=0).fit(X)
    other.init_params = print
    with pytest.raises(TypeError, match="init_params is a builtins.builtin_function.*, which is"):
        other.save(tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


def test_a_file_stays_until_the_new_one_is_whole(plain, tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    plain.save(path)
    before = path.read_bytes()

    def full(file, **arrays):
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        plain.save(path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_what_is_not_one_of_ours(plain, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file '.*model\.npz'"):
        bayesgmm.load(tmp_path / "model.npz")
    with pytest.raises(ValueError, match="must end in"):
        bayesgmm.load(tmp_path / "model.csv")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    (tmp_path / "text.npz").write_text("text")
    (tmp_path / "text.nc").write_text("text")
    plain.save(tmp_path / "half.npz")
    whole = (tmp_path / "half.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    for name in ("other.npz", "text.npz", "text.nc", "half.npz"):
        with pytest.raises(ValueError, match=rf"{name}' was not written by save\(\)"):
            bayesgmm.load(tmp_path / name)


def changed(path, change):
    """The file with another header."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    header = json.loads(arrays[HEADER].tobytes())
    change(header)
    arrays[HEADER] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    "other, way", [(FORMAT + 1, "Upgrade bayesgmm"), (FORMAT - 1, "Read it with bayesgmm 9.9")]
)
def test_other_formats_are_told(plain, tmp_path, other, way):
    path = tmp_path / "model.npz"
    plain.save(path)
    changed(path, lambda header: header.update(format=other, bayesgmm="9.9"))
    with pytest.raises(ValueError, match=rf"by bayesgmm 9.9 in format {other}.*{way}, or fit"):
        bayesgmm.load(path)


@pytest.mark.parametrize(
    "name", ["os.system", "bayesgmm.cli.main", "bayesgmm.estimators.em.GaussianMixture", "nothing"]
)
def test_only_records_are_made(plain, tmp_path, name, capfd):
    path = tmp_path / "model.npz"
    plain.save(path)
    record = {"record": [name, {"command": "echo broken in"}]}
    changed(path, lambda header: header["state"].update(n_init=record))
    with pytest.raises(ValueError, match="is damaged: .* is no record of this package"):
        bayesgmm.load(path)
    assert capfd.readouterr().out == ""
    changed(path, lambda header: header.update({"class": "core"}))
    with pytest.raises(ValueError, match="there is no estimator 'core'"):
        bayesgmm.load(path)


def test_no_pickle_is_read(plain, tmp_path):
    path = tmp_path / "model.npz"
    plain.save(path)
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    assert set(zipfile.ZipFile(path).namelist()) == {f"{name}.npy" for name in arrays}
    np.testing.assert_array_equal(arrays["means_"], plain.means_)  # by name, for other software
    np.savez(path, **arrays | {"means_": np.array([print], object)})
    with pytest.raises(ValueError, match="was not written by save"):
        bayesgmm.load(path)


def test_without_h5netcdf(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5netcdf", None)
    (tmp_path / "model.nc").write_text("")
    with pytest.raises(ImportError, match=r"pip install 'bayesgmm\[netcdf\]', or use \.npz"):
        bayesgmm.load(tmp_path / "model.nc")
