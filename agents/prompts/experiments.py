"""A/B experiments between two versions of a prompt."""

import hashlib

import msgspec

_BUCKETS = 100


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """Sends `traffic_pct` percent of the users to `variant`, the others to `control`."""

    name: str
    template: str
    control: str
    variant: str
    traffic_pct: int

    def assign(self, user_id: str) -> tuple[str, str]:
        """Return the arm (``control`` or ``variant``) and the version that this user always gets.

        The bucket is a hash of user and experiment, so that a user's arms in two experiments are
        independent of each other.
        """
        digest = hashlib.md5(f"{user_id}:{self.name}".encode(), usedforsecurity=False).hexdigest()
        if int(digest, 16) % _BUCKETS < self.traffic_pct:
            return "variant", self.variant
        return "control", self.control
