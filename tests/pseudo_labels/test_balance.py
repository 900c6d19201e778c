import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np

from ns_jax.pseudo_labels.balance import id_hash, select_copies

CLASSES = 5


@st.composite
def labels(draw):
    count = draw(st.integers(1, 60))
    label = draw(hnp.arrays(np.int32, count, elements=st.integers(0, CLASSES - 1)))
    # Few distinct values, so that ties happen.
    confidence = draw(hnp.arrays(np.float32, count, elements=st.sampled_from([0.2, 0.3, 0.5, 0.75, 1.0])))
    return label, confidence, id_hash(np.array([f"id-{i}".encode() for i in range(count)]), draw(st.integers(0, 9)))


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(labels(), st.integers(1, 20), st.randoms(use_true_random=False))
def test_selection(found, per_class, random):
    label, confidence, lottery = found
    copies = select_copies(label, confidence, lottery, CLASSES, 0.3, per_class)
    assert copies[confidence <= np.float32(0.3)].sum() == 0
    for number in range(CLASSES):
        of_class = (label == number) & (confidence > np.float32(0.3))
        if not of_class.any():
            continue
        assert copies[of_class].sum() == per_class
        kept, dropped = of_class & (copies > 0), of_class & (copies == 0)
        if dropped.any():
            assert copies[kept].max() == 1 and confidence[kept].min() >= confidence[dropped].max()
        else:
            assert copies[kept].max() - copies[kept].min() <= 1
    order = np.array(random.sample(range(len(label)), len(label)))
    shuffled = select_copies(label[order], confidence[order], lottery[order], CLASSES, 0.3, per_class)
    np.testing.assert_array_equal(shuffled, copies[order])


def test_without_balancing_everything_above_the_threshold_is_kept_once():
    copies = select_copies(np.array([0, 0, 1]), np.array([0.9, 0.3, 0.31]), np.arange(3, dtype=np.uint64), 2, 0.3, 0)
    assert copies.tolist() == [1, 0, 1]


def test_the_lottery_is_of_seed_and_id_alone():
    ids = np.array([b"a", b"b", b"c"])
    assert id_hash(ids, 1)[2] == id_hash(ids[2:], 1)[0] != id_hash(ids, 2)[2]
