"""Covariance families: numbers of parameters, what a change of units leaves alone, packing."""

import itertools
from functools import partial

import numpy as np
import pytest

from bayesgmm.core import FAMILIES, Covariance
from bayesgmm.core.covariance import UNIVARIATE, pack, packed_shape, unpack
from tests.conftest import assert_close

FOURTEEN = "EII VII EEI VEI EVI VVI EEE VEE EVE VVE EEV VEV EVV VVV".split()

COUPLED = "VEI EVI VEE EVE VVE EEV VEV EVV".split()
"""Families with an E and a V: what they share ties components that are not the same."""


def mclust_n_parameters(name, d, G):
    """Table 3 of Scrucca et al. (2016), The R Journal 8, 289-317, written out model by model."""
    rotation = d * (d - 1) // 2
    return {
        "EII": 1,
        "VII": G,
        "EEI": d,
        "VEI": G + (d - 1),
        "EVI": 1 + G * (d - 1),
        "VVI": G * d,
        "EEE": d * (d + 1) // 2,
        "VEE": G + (d - 1) + rotation,
        "EVE": 1 + G * (d - 1) + rotation,
        "VVE": G + G * (d - 1) + rotation,
        "EEV": 1 + (d - 1) + G * rotation,
        "VEV": G + (d - 1) + G * rotation,
        "EVV": 1 + G * (d - 1) + G * rotation,
        "VVV": G * d * (d + 1) // 2,
    }[name]


BY_HAND = [1, 3, 4, 6, 10, 12, 10, 12, 16, 18, 22, 24, 28, 30]
"""Of the fourteen, for d = 4 and G = 3."""


@pytest.mark.parametrize(("name", "expected"), list(zip(FOURTEEN, BY_HAND, strict=True)))
def test_numbers_of_parameters(name, expected):
    family = Covariance(*name)
    assert family.n_parameters(K=3, D=4) == expected == mclust_n_parameters(name, 4, 3)
    for K, D in itertools.product((1, 2, 5), (1, 2, 7)):
        assert family.n_parameters(K, D) == mclust_n_parameters(name, D, K)


# ----------------------------------------------------------------------------- a change of units


def random_member(name, K, D, seed=0):
    """Covariances [K, D, D] of a family, from its definition lambda Q A Q'."""
    rng = np.random.default_rng(seed)

    def draw(letter, make, identity):
        shared = make()
        return [
            identity if letter == "I" else shared if letter == "E" else make() for _ in range(K)
        ]

    volumes = draw(name[0], lambda: rng.uniform(0.5, 3), 1.0)
    shapes = draw(name[1], lambda: unit_determinant(rng.uniform(0.2, 5, D)), np.ones(D))
    turns = draw(name[2], lambda: np.linalg.qr(rng.normal(size=(D, D)))[0], np.eye(D))
    return np.stack([v * (q * a) @ q.T for v, a, q in zip(volumes, shapes, turns, strict=True)])


def unit_determinant(spectrum):
    return spectrum / np.exp(np.log(spectrum).mean())


def is_member(name, covariances, tol=1e-8):
    """Whether covariances obey each letter of a name; judged by invariants, not by fitting."""
    D = covariances.shape[-1]
    volume = np.linalg.det(covariances) ** (1 / D)
    shape = covariances / volume[:, None, None]
    spectra = np.linalg.eigvalsh(shape)
    products = np.einsum("aij,bjk->abik", shape, shape)
    same = partial(np.allclose, rtol=tol, atol=tol)
    commute = same(products, np.swapaxes(products, 0, 1))
    same_matrix = same(shape, shape[0])
    tests = {
        ("volume", "E"): same(volume, volume[0]),
        ("shape", "I"): same(spectra, 1),
        ("shape", "E"): same(spectra, spectra[0]),
        ("turn", "I"): same(shape, shape * np.eye(D)),
        ("turn", "E"): commute,
        # axes keep their places, or the same matrix up to its volume
        ("both", "EI"): same_matrix,
        ("both", "EE"): same_matrix,
    }
    letters = (("volume", name[0]), ("shape", name[1]), ("turn", name[2]), ("both", name[1:]))
    return all(tests.get(letter, True) for letter in letters)


@pytest.mark.parametrize("name", FOURTEEN)
def test_the_scaling_a_family_bears(name):
    """Closed under a change of the units of one column, or only of all of them together."""
    covariances = random_member(name, 3, 3)
    assert is_member(name, covariances)
    columns = np.diag([1.0, 3.0, 0.2])
    assert is_member(name, 7.0 * covariances)
    closed = is_member(name, columns @ covariances @ columns)
    assert Covariance(*name).scaling == ("column" if closed else "common")


# ------------------------------------------------------------------------- letters and their sums


@pytest.mark.parametrize("name", FOURTEEN)
def test_what_letters_say(name):
    family = Covariance(*name)
    covariances = random_member(name, 3, 4)
    off_diagonal = covariances * (1 - np.eye(4))
    assert family.axis_aligned == (not off_diagonal.any())
    assert family.pooled == np.allclose(covariances, covariances[0])
    assert family.isotropic == np.allclose(covariances, covariances[:, :1, :1] * np.eye(4))
    assert family.conjugate == (name not in COUPLED)
    assert hash(family) == hash(Covariance(*name)) and family == Covariance(*name)


def test_scatter_is_summed_over_what_is_shared():
    rng = np.random.default_rng(0)
    full, axis = rng.normal(size=(3, 4, 4)), rng.normal(size=(3, 4))
    expected = {
        "VVV": (full, full),
        "EEE": (full, full.sum(0)[None]),
        "VVI": (axis, axis),
        "VII": (axis, axis.sum(1)[:, None]),
        "EII": (axis, axis.sum().reshape(1, 1)),
    }
    expected |= {name: (axis if name[2] == "I" else full,) * 2 for name in COUPLED}
    assert {*expected, "EEI"} == set(FOURTEEN)
    assert_close(Covariance(*"EEI").reduce(axis), axis.sum(0)[None])
    behind = {"VVV": (1, 1), "EEE": (3, 1), "VVI": (1, 1), "VII": (1, 4), "EII": (3, 4)}
    behind |= {name: (1, 1) for name in COUPLED}
    for name, (scatter, sums) in expected.items():
        assert_close(Covariance(*name).reduce(scatter), sums)
        assert Covariance(*name).n_shared(K=3, D=4) == behind[name]


@pytest.mark.parametrize("name", FOURTEEN)
def test_the_nearest_member_is_the_matrix_itself_if_it_is_one(name):
    """And a member in any case: by this the boundary tells them apart."""
    family = Covariance(*name)
    for D in (1, 2, 4):
        members = random_member(name, 3, D)
        assert_close(family.nearest(members), members)
        assert_close(family.nearest(np.linalg.inv(members)), np.linalg.inv(members))
    others = random_member("VVV", 3, 4, seed=1)
    before = others.copy()
    assert is_member(name, family.nearest(others))
    assert np.allclose(family.nearest(others), others) == is_member(name, others)
    assert_close(others, before)


def test_axes_that_two_matrices_exchange():
    """Their sum is a multiple of the identity, which has no axes of its own."""
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(2, 2)))[0]
    pair = np.stack([turn @ np.diag(v) @ turn.T for v in ([1.0, 4.0], [4.0, 1.0])])
    assert_close(Covariance(*"VVE").nearest(pair), pair)


@pytest.mark.parametrize("name", COUPLED)
def test_coupled_families_say_their_letters(name):
    said = Covariance(*name).words()
    assert said.count("equal") == name.count("E") and said.count("variable") == name.count("V")
    assert ("axis-aligned" in said) == name.endswith("I")


# ---------------------------------------------------------------------------------------- packing


@pytest.mark.parametrize("name", FAMILIES)
def test_packing_goes_there_and_back(name):
    family = FAMILIES[name]
    K, D = 3, 1 if name in UNIVARIATE else 4
    covariances = random_member(family.volume + family.shape + family.orientation, K, D)
    packed = pack(name, covariances)
    assert packed.shape == packed_shape(name, K, D)
    assert_close(unpack(name, packed, K, D), covariances)


def test_scikit_learns_shapes():
    shapes = {"full": (3, 4, 4), "tied": (4, 4), "diag": (3, 4), "spherical": (3,)}
    for name, shape in shapes.items():
        assert packed_shape(name, 3, 4) == shape
    assert packed_shape("VII", 3, 4) == (3, 4, 4)


def test_names_are_letters():
    """mclust's names mean their letters; scikit-learn's four are among them."""
    assert {name for name in FAMILIES if len(name) == 3} == set(FOURTEEN)
    assert all(FAMILIES[name] == Covariance(*name) for name in FOURTEEN)
    synonyms = {"full": "VVV", "tied": "EEE", "diag": "VVI", "spherical": "VII", "V": "VII"}
    assert all(FAMILIES[name] == Covariance(*letters) for name, letters in synonyms.items())
    assert FAMILIES["E"] == Covariance(*"EII")
