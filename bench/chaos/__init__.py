"""The chaos suite: a whole Headrace under load and faults, and what was lost or paid twice: nothing."""
