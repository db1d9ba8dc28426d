"""A document's side depends on its own text alone, and the sample is spread over the corpus."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.sources import Document
from pipeline.corpus.split import SplitDocument, divide, require_both_splits, sample
from pipeline.errors import CorpusError


def sides(texts: list[str], fraction: float = 0.3) -> dict[str, str]:
    divided = divide((Document(text, "here") for text in texts), fraction)
    return {document.text: document.split for document in divided}


@given(st.lists(st.text()), st.lists(st.text()), st.lists(st.text()))
def test_no_document_changes_side_when_others_are_added(
    before: list[str], texts: list[str], after: list[str]
) -> None:
    alone, among = sides(texts), sides(before + texts + after)
    assert all(among[text] == side for text, side in alone.items())


@given(st.text(), st.text(), st.floats(0.01, 0.99))
def test_a_document_follows_the_text_that_it_repeats(
    text: str, source: str, fraction: float
) -> None:
    first, second = divide(
        [Document(source, "here"), Document(text, "there", follows=source)], fraction
    )
    assert first.split == second.split


def test_a_larger_fraction_only_adds_to_validation() -> None:
    texts = [str(i) for i in range(2000)]
    small, large = sides(texts, 0.1), sides(texts, 0.2)
    count = sum(side == "validation" for side in small.values())
    assert 150 < count < 250
    assert all(large[text] == "validation" for text in texts if small[text] == "validation")


def test_sides_never_change_between_versions() -> None:
    """Published numbers of validation hold only for one and the same division."""
    validation = [
        text for text, side in sides([str(i) for i in range(20)]).items() if side[0] == "v"
    ]
    assert validation == ["4", "8", "9", "10", "13", "17"]


def split_documents(count: int) -> list[SplitDocument]:
    return list(divide((Document(f"text number {i:06d}", "here") for i in range(count)), 0.3))


def test_sample_is_within_its_limit_spread_out_in_order_and_of_training_text() -> None:
    everything = split_documents(3000)
    chosen = sample(everything, 6000)
    sizes = [document.text_bytes for document in chosen]
    assert 6000 - 18 < sum(sizes) <= 6000
    assert {document.split for document in chosen} == {"train"}
    places = [everything.index(document) for document in chosen]
    assert places == sorted(places)
    for third in range(3):
        in_third = sum(1000 * third <= place < 1000 * (third + 1) for place in places)
        assert 80 < in_third < 145


def test_a_sample_of_everything_is_all_training_text() -> None:
    everything = split_documents(100)
    assert sample(everything, 10**9) == [d for d in everything if d.split == "train"]


def test_empty_sides_are_refused_with_the_remedy() -> None:
    require_both_splits({"train": 1, "validation": 1})
    with pytest.raises(CorpusError, match="the corpus is empty"):
        require_both_splits({"train": 0, "validation": 0})
    with pytest.raises(
        CorpusError, match=r"all documents \(3\) .* validation is empty; raise it, or"
    ):
        require_both_splits({"train": 3, "validation": 0})
    with pytest.raises(CorpusError, match=r"all documents \(3\) .* train is empty; lower it, or"):
        require_both_splits({"train": 0, "validation": 3})
