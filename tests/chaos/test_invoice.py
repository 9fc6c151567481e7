"""The provider's bill against the bookings."""

from bench.chaos.invoice import compare


def test_every_bill_has_its_booking() -> None:
    """Bookings without a bill are calls that never reached the provider: no fault."""
    calls = compare(["a", "b"], ["a", "b", "c"], orphaned=1)
    assert calls.balanced
    assert (calls.invoiced, calls.booked, calls.orphaned) == (2, 3, 1)


def test_a_bill_that_nobody_booked_is_found() -> None:
    """Nor does a call without our id pass."""
    assert compare(["a", "b"], ["a"], orphaned=0).unbooked == 1
    assert not compare([None], ["a"], orphaned=0).balanced


def test_a_call_counts_once_on_both_sides() -> None:
    """Neither is billed twice, nor booked twice."""
    assert compare(["a", "a"], ["a"], orphaned=0).invoiced_twice == 1
    assert compare(["a"], ["a", "a"], orphaned=0).booked_twice == 1
    assert not compare(["a"], ["a", "a"], orphaned=0).balanced
