"""The sweep in each of its forms against the plain dense computation, and as a derivative."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import jax
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from bayesgmm.core import (
    Data,
    Form,
    Mixture,
    Moments,
    choose_form,
    exact_form,
    hard,
    joint_of,
    kappa,
    log_density,
    log_joint,
    log_likelihood,
    pad,
    reference,
    soft,
)
from bayesgmm.core.forms import DENSE_FROM, kappa_limit
from bayesgmm.core.sweep import (
    _inverse_cdf,
    chunk_size,
    gathered,
    located,
    padded_size,
    snug_size,
)
from tests.conftest import assert_close, matrices, random_mixture, with_absent

pytestmark = pytest.mark.usefixtures("x64")

K, D, N, CHUNK = 4, 3, 64, 16
FRAMES = [
    ("natural", "full"),
    ("natural", "axis"),
    ("dense", "full"),
    ("whitened", "full"),
    ("whitened", "axis"),
]
"""Every form with the storages it has code for; tied scales are full ones, stored once."""


def form_of(name, storage, chunk=CHUNK):
    return Form(name, storage == "axis", chunk)


def some_data(seed=0, n=N - 4):
    """Points of uneven weights, some of weight 0, and padding."""
    rng = np.random.default_rng(seed)
    points, weight = 3 * rng.normal(size=(n, D)), rng.integers(0, 4, n) / 2.0
    fill = N - n
    return Data(np.pad(points.T, ((0, 0), (0, fill))), np.pad(weight, (0, fill)))


# --- the oracle: NumPy, everything of size N x K kept


def plain_joint(points, mixture):
    """Log joint [N, K] of points [N, D]."""
    covariances = matrices(mixture)
    gap = points[:, None, :] - np.asarray(mixture.means)
    distance = np.einsum("nki,kij,nkj->nk", gap, np.linalg.inv(covariances), gap)
    log_det = np.linalg.slogdet(2 * np.pi * covariances)[1]
    return mixture.log_weights - 0.5 * (log_det + distance)


def plain_moments(points, resp, about, evidence, axis_aligned=False):
    """Moments [K, ...] of points [N, D] with (weighted) responsibilities [N, K]."""
    gap = points[:, None, :] - about
    second = np.einsum("nk,nki,nkj->kij", resp, gap, gap)
    if axis_aligned:
        second = np.einsum("kii->ki", second)
    return Moments(resp.sum(0), np.einsum("nk,nki->ki", resp, gap), second, evidence)


def plain_soft(data, mixture, form):
    joint = plain_joint(data.points.T, mixture)
    resp = special.softmax(joint, axis=1) * data.weight[:, None]
    evidence = data.weight @ special.logsumexp(joint, axis=1)
    about = mixture.means if form.about_means else np.zeros_like(mixture.means)
    return plain_moments(data.points.T, resp, about, evidence, form.axis_aligned)


# ------------------------------------------------------------------------- one contract for all


@partial(jax.jit, static_argnames="form")
def everything(key, data, mixture, form):
    """Of one mixture, in chunks of three sizes; the largest is the whole."""
    labels, moments = hard(key, data, mixture, replace(form, chunk=2 * CHUNK))
    return {
        "soft": soft(data, mixture, form),
        "about": reference(mixture, form),
        "joint": joint_of(data, mixture, replace(form, chunk=N)),
        "labels": labels,
        "hard": moments,
    }


swept = jax.jit(soft, static_argnames="form")
condition = jax.jit(kappa)


def close(found, expected):
    assert_close(found, expected, rtol=1e-9, atol=1e-9)


def check_form(name, storage):
    """All that a frame does; how it stores its scales is for `test_tied_scales_of_every_form`."""
    form, data = form_of(name, storage), some_data()
    mixture = random_mixture(0, K, D, storage)
    found = everything(jr.key(0), data, mixture, form)
    close(found["soft"], plain_soft(data, mixture, form))
    close(found["joint"].T, plain_joint(data.points.T, mixture))
    check_additive(data, mixture, form, found["soft"])
    check_labels(data, mixture, form, found)
    check_symmetries(data, mixture, form, found["soft"])


def check_additive(data, mixture, form, whole):
    """The sums over two halves are those over all."""
    first = data._replace(weight=np.where(np.arange(N) < N // 2, data.weight, 0))
    rest = data._replace(weight=data.weight - first.weight)
    halves = [everything(jr.key(0), half, mixture, form)["soft"] for half in (first, rest)]
    close(jax.tree.map(np.add, *halves), whole)


def check_labels(data, mixture, form, found):
    """The moments are those of the labels; the evidence is the marginal one."""
    labels = np.asarray(found["labels"])
    assert labels.shape == (N,) and set(labels) <= set(range(K))
    indicator = (labels[:, None] == np.arange(K)) * data.weight[:, None]
    evidence = found["soft"].evidence
    about = np.asarray(found["about"])
    expected = plain_moments(data.points.T, indicator, about, evidence, form.axis_aligned)
    close(found["hard"], expected)


def check_symmetries(data, mixture, form, whole):
    """Permuting permutes; an absent component and points of weight 0 change nothing."""
    order = np.array([2, 0, 3, 1])
    shuffled = jax.tree.map(lambda leaf: leaf[order], mixture)
    moments = everything(jr.key(0), data, shuffled, form)["soft"]
    close(moments[:3], jax.tree.map(lambda leaf: np.asarray(leaf)[order], whole[:3]))
    small = random_mixture(1, K - 1, D, "axis" if form.axis_aligned else "full")
    scattered = data._replace(points=np.where(data.weight > 0, data.points, 1e3))
    for at in range(K):
        found = everything(jr.key(at), scattered, with_absent(small, at), form)
        keep = np.delete(np.arange(K), at)
        present = jax.tree.map(lambda leaf, keep=keep: np.asarray(leaf)[keep], found["soft"][:3])
        expected = plain_soft(data, small, form)
        close((*present, found["soft"].evidence), tuple(expected))
        gone = (np.asarray(leaf)[at] for leaf in (*found["soft"][:3], *found["hard"][:3]))
        assert not any(leaf.any() for leaf in gone)
        assert at not in np.asarray(found["labels"])[data.weight > 0]


@pytest.mark.parametrize(("name", "storage"), FRAMES)
def test_contract(name, storage):
    check_form(name, storage)


@pytest.mark.parametrize("name", ["natural", "dense", "whitened"])
def test_tied_scales_of_every_form(name):
    form, data = form_of(name, "tied"), some_data()
    for mixture in (random_mixture(0, K, D, "tied"), random_mixture(1, K - 1, D, "tied")):
        padded = with_absent(mixture, 0) if len(mixture.means) < K else mixture
        found, expected = swept(data, padded, form), plain_soft(data, mixture, form)
        present = [np.asarray(leaf)[-len(mixture.means) :] for leaf in found[:3]]
        close((*present, found.evidence), tuple(expected))


def test_forms_are_chosen_by_size():
    assert choose_form(2).name == choose_form(DENSE_FROM - 1).name == "natural"
    assert choose_form(DENSE_FROM).name == "dense"
    assert choose_form(200, axis_aligned=True) == Form("natural", True, 128)
    assert exact_form(True).axis_aligned and exact_form().name == "whitened"
    for dimension in (1, 3, 15, 20, 100):
        for axis_aligned in (False, True):
            form = choose_form(dimension, axis_aligned)
            sizes = [padded_size(n) for n in (1, 33, 700, 5000)]
            assert not any(size % min(form.chunk, size) for size in sizes)


# -------------------------------------------------------------------------------- drawn labels


def test_label_frequencies_are_the_responsibilities():
    mixture, data = with_absent(random_mixture(0, K - 1, D), 1), some_data()
    form = form_of("natural", "full")
    draw = jax.jit(lambda keys: jax.lax.map(lambda key: hard(key, data, mixture, form)[0], keys))
    labels = np.asarray(draw(jr.split(jr.key(0), 5000)))
    resp = special.softmax(plain_joint(data.points.T, mixture), axis=1)
    frequencies = (labels[:, :, None] == np.arange(K)).mean(0)
    z = 4.5  # Bernstein's bound, which holds for the rare ones too: p = 8e-5 each, at most
    bound = z * np.sqrt(resp * (1 - resp) / 5000) + z**2 / (3 * 5000) * (resp > 0)
    assert np.all(np.abs(frequencies - resp) <= bound)
    counts = (labels == 0).astype(float)  # points are labelled independently
    near = counts.std(0) > 0.1
    correlation = np.corrcoef(counts[:, near].T) - np.eye(near.sum())
    assert np.abs(correlation).max() < 5 / np.sqrt(5000)


def test_inverse_cdf_at_its_ends():
    """Never a component of probability 0, whatever the uniform rounds to."""
    resp = np.array([[0.0, 0.4, 0.0, 0.6, 0.0]] * 5).T
    below = np.nextafter(0.4, 0)
    uniform = np.array([0.0, below, 0.4, np.nextafter(1, 0), 1.0])
    assert jax.jit(_inverse_cdf)(resp, uniform).tolist() == [1, 1, 3, 3, 3]


# ------------------------------------------------------------------------------ given components


def test_moments_of_given_components():
    data, rng = some_data(), np.random.default_rng(3)
    labels, resp = rng.integers(-1, K, N), rng.dirichlet(np.ones(K), N)
    points, means = data.points.T, rng.normal(size=(K, D))
    both = jax.jit(
        lambda data, start, means: (
            located(data, start, K),
            gathered(data, start, means),
            gathered(data, start, means, axis_aligned=True),
        )
    )
    for start, weight in ((labels, labels[:, None] == np.arange(K)), (resp.T, resp)):
        place, full, axis = both(data, start, means)
        weight = weight * data.weight[:, None]
        close(place, tuple(plain_moments(points, weight, np.zeros((K, D)), 0.0)[:2]))
        close(full, plain_moments(points, weight, means, 0.0))
        close(axis, plain_moments(points, weight, means, 0.0, axis_aligned=True))


# ------------------------------------------------------------------------------------ precision


def test_float32_whitened_keeps_the_digits_of_tight_clusters():
    """Clusters a thousandth of the spread: the fast form loses what the exact one keeps."""
    rng = np.random.default_rng(0)
    mixture = random_mixture(0, K, D)._replace(means=rng.normal(size=(K, D)))
    mixture = mixture._replace(scales=1e-3 * mixture.scales)
    labels = np.arange(N) % K
    noise = np.einsum("nij,nj->ni", mixture.scales[labels], rng.normal(size=(N, D)))
    data = Data((mixture.means[labels] + noise).T, np.ones(N))
    single = jax.tree.map(np.float32, (data, mixture))
    exact = jax.tree.map(np.float64, single)
    expected = plain_soft(*exact, form_of("whitened", "full"))
    assert condition(single[1]) > kappa_limit(np.float32)

    def errors(name):
        """Of the covariances, in standard deviations of each component."""
        form = form_of(name, "full")
        found = jax.tree.map(np.float64, swept(*single, form))
        about = single[1].means if form.about_means else np.zeros((K, D))
        covariances = moments_about(found, about - single[1].means)
        white = np.linalg.inv(exact[1].scales)
        gap = covariances - moments_about(expected, 0 * about)
        return np.abs(white @ gap @ np.swapaxes(white, 1, 2)).max()

    assert errors("whitened") < 1e-4
    assert errors("natural") > 0.05


def moments_about(found, shift):
    """Mean squares [K, D, D] about another reference, `shift` further on."""
    counts = found.counts[:, None, None]
    cross = found.first[:, :, None] * shift[:, None, :]
    outer = shift[:, :, None] * shift[:, None, :]
    return (found.second + cross + np.swapaxes(cross, 1, 2)) / counts + outer


@pytest.mark.parametrize("storage", ["full", "tied", "axis"])
def test_kappa(storage):
    mixture = random_mixture(0, K, D, storage)
    covariances = matrices(mixture)
    precision = np.einsum("kii->ki", np.linalg.inv(covariances))
    each = (precision * (np.einsum("kii->ki", covariances) + mixture.means**2)).sum(1)
    assert_close(condition(mixture), each.max())
    worst = mixture._replace(log_weights=np.where(each == each.max(), -np.inf, 0.0))
    assert_close(condition(worst), np.sort(each)[-2])
    assert kappa_limit(np.float32) == 1e3 and kappa_limit("float64") == 1e7


def test_kappa_is_twice_the_dimension_at_rest_and_large_for_nearly_flat_clusters():
    at_rest = Mixture(np.zeros(1), np.zeros((1, 2)), np.eye(2)[None])
    assert_close(condition(at_rest), 2.0)
    flat = at_rest._replace(scales=np.array([[[1.0, 0.0], [1.0, 1e-4]]]))
    assert condition(flat) > 1e7


# --------------------------------------------------------------------------------------- padding


@given(st.integers(1, 10**8))
def test_padded_sizes(n):
    size = padded_size(n)
    assert size >= n and padded_size(size) == size
    assert size % min(size, 1024) == 0 and size >= 32
    if n > 16_384:
        assert (size - n) / n < 1 / 16
    elif n > 1024:
        assert size - n < 1024
    else:
        assert size & (size - 1) == 0 and (size == 32 or size < 2 * n)


@given(st.integers(1, 10**6), st.integers(0, 1000))
def test_padded_sizes_are_few_and_grow(n, more):
    assert padded_size(n + more) >= padded_size(n)
    if n > 32 * 1024:  # at most sixteen sizes an octave
        low = 1 << (n.bit_length() - 1)
        assert len({padded_size(low + low * i // 64 + 1) for i in range(64)}) <= 17


def test_pad_fills_up_with_weight_zero():
    points, weight = np.arange(82.0).reshape(41, 2), np.arange(41.0)
    data = pad(points, weight)
    assert data.points.shape == (2, 64) and data.points.dtype == np.float64
    assert np.array_equal(np.asarray(data.points)[:, :41].T, points)
    assert np.array_equal(data.weight, np.pad(weight, (0, 23)))
    assert not np.asarray(data.points)[:, 41:].any()
    assert np.array_equal(pad(points).weight, np.arange(64) < 41)


def test_a_chunk_that_does_not_divide():
    data, form = some_data(), Form("whitened", False, 63)
    data = jax.tree.map(lambda leaf: leaf[..., :61], data)  # a prime number of points
    for sweep in (soft, joint_of, log_likelihood):
        jax.eval_shape(partial(sweep, form=form), data, random_mixture(0, K, D))
        smaller = partial(sweep, form=Form("whitened", False, 48))
        with pytest.raises(ValueError, match=r"multiple of a chunk of 24 to 48, got 61: pad them"):
            jax.eval_shape(smaller, data, random_mixture(0, K, D))


@given(st.integers(1, 10**5))
def test_snug_sizes(n):
    size = snug_size(n)
    assert n <= size <= max(32, 1.25 * n) and snug_size(size) == size
    most = min(size, 256)
    assert size % chunk_size(size, exact_form()) == 0 and chunk_size(size, exact_form()) > most / 2
    assert chunk_size(padded_size(n), exact_form()) == min(padded_size(n), 256)
    low = 64 << n.bit_length()
    assert len({snug_size(low + i * low // 64) for i in range(1, 65)}) <= 4


# ------------------------------------------------------------------------------- as a derivative


def plain_log_likelihood(data, mixture, form=None):
    return data.weight @ log_density(data.points.T, mixture)


def value_and_slopes(function, data, mixtures):
    """For several mixtures at once, compiled."""
    return jax.jit(jax.vmap(jax.value_and_grad(function, (0, 1)), (None, 0)))(data, mixtures)


def stacked_mixtures(storage):
    """One in full, and one with an absent component."""
    pair = random_mixture(0, K, D, storage), with_absent(random_mixture(1, K - 1, D, storage), 1)
    return pair, jax.tree.map(lambda *leaves: np.stack(leaves), *pair)


def test_value_and_gradient_are_those_of_the_plain_density():
    """JAX's own derivative of `log_density` is the oracle."""
    (_, stacked), data = stacked_mixtures("full"), some_data()
    function = partial(log_likelihood, form=form_of("natural", "full"))
    found = value_and_slopes(function, data, stacked)
    close(found, value_and_slopes(plain_log_likelihood, data, stacked))


@pytest.mark.parametrize(
    ("name", "storage"), [("natural", "axis"), ("dense", "tied"), ("whitened", "full")]
)
def test_value_and_gradient_of_every_form(name, storage):
    """Against central differences of NumPy's value, one leaf at a time."""
    (mixtures, stacked), data = stacked_mixtures(storage), some_data()
    form, rng = form_of(name, storage), np.random.default_rng(5)
    values, slopes = value_and_slopes(partial(log_likelihood, form=form), data, stacked)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    for i, mixture in enumerate(mixtures):
        leaves, tree = jax.tree.flatten((data, mixture))
        close(values[i], plain_soft(data, mixture, form).evidence)
        for j, slope in enumerate(jax.tree.leaves(slopes)):
            along = rng.normal(size=leaves[j].shape)
            along = np.tril(along) if along.ndim == 3 else along
            moved = [
                plain_soft(*tree.unflatten([*leaves[:j], leaf, *leaves[j + 1 :]]), form).evidence
                for leaf in (leaves[j] - 1e-5 * along, leaves[j] + 1e-5 * along)
            ]
            assert_close(np.vdot(slope[i], along), np.diff(moved)[0] / 2e-5, rtol=1e-6, atol=1e-6)


def test_forward_mode_and_curvature():
    """The slope along a direction, and the slope of the gradient: forward over reverse."""
    data, mixture = some_data(), with_absent(random_mixture(1, K - 1, D), 1)
    form, rng = form_of("natural", "full"), np.random.default_rng(0)
    along = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), (data, mixture))

    def both(function):
        value = partial(function, form=form)

        def slope(means):
            return jax.grad(lambda m: value(data, mixture._replace(means=m)))(means)

        curve = jax.jvp(slope, (mixture.means,), (along[1].means,))[1]
        return jax.jvp(value, (data, mixture), along)[1], curve

    assert_close(
        jax.jit(partial(both, log_likelihood))(), jax.jit(partial(both, plain_log_likelihood))()
    )


def test_slopes_pass_in_the_chunks_of_the_form():
    """300 points in one chunk have a value, and so a gradient."""
    data = Data(np.zeros((D, 300)), np.ones(300))
    value = partial(log_likelihood, form=Form("natural", False, 300))
    assert jax.eval_shape(value, data, random_mixture(0, K, D)).shape == ()
    slope = jax.eval_shape(jax.grad(value), data, random_mixture(0, K, D))
    assert slope.points.shape == (D, 300)


def sweeps_in(function, *arguments):
    """How many passes over the points the traced function holds."""
    return str(jax.make_jaxpr(function)(*arguments)).count("= scan[")


def test_only_what_is_differentiated_is_computed():
    """Symbolic zeros: the points' own term costs a second pass only where it is asked for."""
    data, mixture, form = some_data(), random_mixture(0, K, D), form_of("natural", "full")

    def of_means(means):
        return log_likelihood(data, mixture._replace(means=means), form)

    def of_weight(weight):
        return log_likelihood(data._replace(weight=weight), mixture, form)

    assert sweeps_in(of_means, mixture.means) == 1
    assert sweeps_in(jax.value_and_grad(of_means), mixture.means) == 1
    assert sweeps_in(jax.value_and_grad(of_weight), data.weight) == 2
    both = jax.jit(lambda means, weight: (jax.grad(of_means)(means), jax.grad(of_weight)(weight)))
    found = both(mixture.means, data.weight)
    joint = plain_joint(data.points.T, mixture)
    resp = special.softmax(joint, axis=1) * data.weight[:, None]
    gap = plain_moments(data.points.T, resp, mixture.means, 0.0).first
    by_means = np.einsum("kij,kj->ki", np.linalg.inv(matrices(mixture)), gap)
    close(found, (by_means, special.logsumexp(joint, axis=1)))


# -------------------------------------------------------------------------------------- devices

SHARDED = """
import json
import jax, numpy as np
from jax.sharding import Mesh, PartitionSpec as P
from bayesgmm.core import Data, Form, Mixture, soft

rng = np.random.default_rng(0)
data = Data(rng.normal(size=(2, 512)), np.ones(512))
mixture = Mixture(np.zeros(3), rng.normal(size=(3, 2)), np.broadcast_to(np.eye(2), (3, 2, 2)))


def sweep(data, mixture):
    return soft(data, mixture, Form("natural", False, 64))


def added(data, mixture):
    return jax.lax.psum(sweep(data, mixture), "n")


by_device = jax.shard_map(
    added,
    mesh=Mesh(np.array(jax.devices()), ("n",)),
    in_specs=(Data(P(None, "n"), P("n")), P()),
    out_specs=P(),
    check_vma=False,
)
with jax.enable_x64(True):
    whole = jax.jit(sweep)(data, mixture)
    compiled = jax.jit(by_device).lower(data, mixture).compile()
    leaves = zip(compiled(data, mixture), whole)
    error = max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in leaves)
found = {op: compiled.as_text().count(op) for op in ("all-gather", "all-reduce")}
print(json.dumps({"devices": jax.device_count(), "error": error, **found}))
"""


def test_a_sweep_on_each_device_gathers_nothing():
    """Sums are reduced; the points stay where they are."""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        [sys.executable, "-c", SHARDED],
        env={**os.environ, **flags},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["devices"] == 2 and found["error"] < 1e-10
    assert found["all-gather"] == 0 < found["all-reduce"]


# --------------------------------------------------------------------------------------- dtypes


@pytest.mark.parametrize(("name", "storage"), [*FRAMES, ("dense", "tied")])
def test_dtype_follows_the_input(name, storage):
    """Under x64 too: float32 in, float32 out."""
    single = jax.tree.map(np.float32, (some_data(), random_mixture(0, K, D, storage)))
    form = form_of(name, storage)
    found = jax.eval_shape(partial(everything.__wrapped__, form=form), jr.key(0), *single)
    labels = found.pop("labels")
    assert np.issubdtype(labels.dtype, np.integer)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype("float32")}
    slope = jax.eval_shape(jax.value_and_grad(partial(log_likelihood, form=form), (0, 1)), *single)
    assert {leaf.dtype for leaf in jax.tree.leaves(slope)} == {np.dtype("float32")}


def test_joint_in_chunks_is_log_joint():
    data, mixture = some_data(), random_mixture(0, K, D)
    found = everything(jr.key(0), data, mixture, form_of("dense", "full"))["joint"]
    close(found.T, jax.jit(log_joint)(data.points.T, mixture))
