"""The list of erasures: who is on it, and what it says of them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codec import decode, encode
from streams.erasure import PSEUDONYM_PREFIX, ErasureList, Subject, digest_of
from streams.events import Erasure

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ANN = Subject("acme", "ann@example.org")


def with_(*subjects: Subject) -> ErasureList:
    known = ErasureList()
    for subject in subjects:
        erasure = known.ordered(subject, mode="anonymise", until=NOW)
        known = known.learned([(erasure.digest, erasure)])
    return known


def test_who_was_put_on_the_list_is_found() -> None:
    """And nobody else, not even a namesake of another tenant."""
    known = with_(ANN, Subject("acme", "cid"))
    found = known.find(ANN)
    assert found is not None
    assert (found.tenant, found.mode, found.until) == ("acme", "anonymise", NOW)
    assert len(known) == 2
    assert known.find(Subject("acme", "bob")) is None
    assert known.find(Subject("globex", ANN.user_id)) is None


@settings(max_examples=30)
@given(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5))
def test_where_the_tenant_ends_matters(tenant: str, between: str, user: str) -> None:
    """However tenant and user are cut, another cut is somebody else."""
    one, other = Subject(tenant, between + user), Subject(tenant + between, user)
    assert (digest_of(one, "s") == digest_of(other, "s")) == (one == other)


def test_the_record_names_nobody() -> None:
    """Neither in clear, nor in a hash without salt that a dictionary of user ids would match everywhere."""
    erasure = with_(ANN).find(ANN)
    assert erasure is not None
    written = encode(erasure).decode()
    assert "ann" not in written.replace("anonymise", "")
    assert digest_of(ANN, "") not in written
    assert decode(encode(erasure), Erasure) == erasure


def test_a_pseudonym_is_random() -> None:
    """Nothing about the user goes into it: two lists give the same user two."""
    one, other = with_(ANN).find(ANN), with_(ANN).find(ANN)
    assert one is not None
    assert other is not None
    assert one.pseudonym.startswith(PSEUDONYM_PREFIX)
    assert one.pseudonym != other.pseudonym


def test_ordering_again_covers_more_under_the_same_name() -> None:
    """A run that was interrupted goes on where it was; a later one takes what came since."""
    known = with_(ANN)
    former = known.find(ANN)
    again = known.ordered(ANN, mode="delete", until=NOW + timedelta(hours=1))
    assert former is not None
    assert (again.digest, again.pseudonym) == (former.digest, former.pseudonym)
    assert (again.mode, again.until) == ("delete", NOW + timedelta(hours=1))
    assert known.ordered(ANN, mode="anonymise", until=NOW - timedelta(hours=1)).until == NOW


def test_a_tenant_s_erasures_share_a_salt() -> None:
    """So that a user is hashed once, however many are on the list."""
    known = with_(ANN, Subject("acme", "bob"))
    one, other = known.find(ANN), known.find(Subject("acme", "bob"))
    assert one is not None
    assert other is not None
    assert one.salt == other.salt


def test_two_that_were_first_at_the_same_moment_are_both_found() -> None:
    """Each has made a salt of its own."""
    one = ErasureList().ordered(ANN, mode="anonymise", until=NOW)
    bob = Subject("acme", "bob")
    other = ErasureList().ordered(bob, mode="anonymise", until=NOW)
    known = ErasureList().learned([(one.digest, one), (other.digest, other)])
    assert one.salt != other.salt
    assert (known.find(ANN), known.find(bob)) == (one, other)


def test_a_list_does_not_change() -> None:
    """Who holds one may use it while another is made."""
    before = with_(ANN)
    erasure = before.find(ANN)
    assert erasure is not None
    after = before.learned([(erasure.digest, None)])
    assert (len(before), len(after)) == (1, 0)
    assert after.find(ANN) is None


@pytest.mark.parametrize("user", ["", "ü", "\ud800", "a" * 256])
def test_any_user_id_can_be_erased(user: str) -> None:
    """Whatever JSON lets through."""
    assert with_(Subject("acme", user)).find(Subject("acme", user)) is not None


def test_a_pseudonym_leads_back_to_its_erasure_and_to_nobody() -> None:
    """Of its own tenant; a name that somebody chose leads nowhere."""
    known = with_(ANN)
    erasure = known.find(ANN)
    assert erasure is not None
    assert known.behind(Subject("acme", erasure.pseudonym)) == erasure
    assert known.behind(Subject("globex", erasure.pseudonym)) is None
    assert known.behind(ANN) is None
    assert known.learned([(erasure.digest, None)]).behind(Subject("acme", erasure.pseudonym)) is None
