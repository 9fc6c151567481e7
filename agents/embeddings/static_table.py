"""Static vectors: one row a token, so that the vector of a text is a sum of rows, without a transformer.

A row is MiniLM's own token embedding, projected and weighted so that the cosines of such sums come close to
MiniLM's. `scripts/fit_static_weights.py` has fitted the projection and the weights.
"""

from importlib import resources

import numpy as np
import numpy.typing as npt

#: What the fit has found: `projection` (inputs, outputs), and `importance` (tokens), the log of a weight.
WEIGHTS_FILE = "static_weights.npz"


def build_static_table(token_embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the row of each token, `(tokens, outputs)`; those of [CLS] and [SEP] are zero."""
    with resources.files(__package__).joinpath(WEIGHTS_FILE).open("rb") as stream:
        fitted = np.load(stream)
        projection = fitted["projection"].astype(np.float32)
        weights = np.exp(fitted["importance"].astype(np.float32))
    rows: npt.NDArray[np.float32] = weights[:, np.newaxis] * (token_embeddings @ projection)
    return rows
