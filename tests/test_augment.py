import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmia import augment

IMAGE = np.arange(6 * 5 * 2, dtype=np.float32).reshape(6, 5, 2)


def shifted(x, down, right, mirrored):
    """The same by padding and slicing."""
    p = 3
    padded = np.pad(x, ((p, p), (p, p), (0, 0)), mode="reflect")
    out = padded[p + down : p + down + 6, p + right : p + right + 5]
    return out[:, ::-1] if mirrored else out


def test_views_are_the_shifts_and_their_mirror_images():
    views = augment.shifted_views(2, 2)
    images = np.asarray(views(IMAGE))
    assert len(images) == 18
    np.testing.assert_array_equal(images[0], IMAGE)
    want = [shifted(IMAGE, d, r, m) for m in (0, 1) for d in (-2, 0, 2) for r in (-2, 0, 2)]
    assert {a.tobytes() for a in images} == {np.ascontiguousarray(a).tobytes() for a in want}
    two = np.asarray(augment.mirror()(IMAGE))
    np.testing.assert_array_equal(two, [IMAGE, IMAGE[:, ::-1]])
    np.testing.assert_array_equal(augment.itself(IMAGE), IMAGE[None])


def test_training_augmentation_draws_all_shifts_evenly():
    keys = jax.random.split(jax.random.key(0), 2000)
    images = np.asarray(jax.vmap(lambda k: augment.flip_and_shift(1)(IMAGE, k))(keys))
    want = [shifted(IMAGE, d, r, m) for m in (0, 1) for d in (-1, 0, 1) for r in (-1, 0, 1)]
    count = [np.all(images == w, axis=(1, 2, 3)).sum() for w in want]
    assert sum(count) == 2000 and min(count) > 60
    still = augment.flip_and_shift(0, flip=False)
    np.testing.assert_array_equal(still(IMAGE, keys[0]), IMAGE)


def test_stored_bytes_move_as_they_are():
    assert augment.mirror()(IMAGE.astype(np.uint8)).dtype == np.uint8


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: augment.shifted_views(4, 3), "multiple"),
        (lambda: augment.flip_and_shift(-1), "pixels=-1"),
        (lambda: augment.flip_and_shift(5)(IMAGE, jax.random.key(0)), "below the image's 5"),
        (lambda: augment.mirror()(IMAGE[0]), "needs images"),
    ],
)
def test_refuses(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_noised_copies_are_the_same_for_every_example_and_of_the_scales_asked():
    views = augment.noised(0.0, 0.5, copies=300, around=augment.mirror())
    x = jnp.arange(24.0).reshape(2, 4, 3)
    images = np.asarray(views(x)).reshape(2, 300, 2, 2, 4, 3)
    np.testing.assert_array_equal(images[0, 0], augment.mirror()(x))
    assert abs((images[1] - images[0]).std() - 0.5) < 0.02
    np.testing.assert_allclose(views(x + 1).reshape(images.shape) - images, 1, rtol=1e-5)
    with pytest.raises(ValueError, match="scales"):
        augment.noised()
