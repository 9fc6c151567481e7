"""What a worker checks before its stages are built."""

import pytest
from structlog.testing import capture_logs

from agents.worker_ports import check_models
from streams.control.catalogue import SHIPPED, ModelCatalogue
from streams.errors import ConfigurationError
from tests.fakes.model_records import model, provider, state_of
from tests.fakes.settings import settings_of

OLLAMA = ModelCatalogue.of(state_of(provider("ollama"), model("llama3.2")))


def test_an_unknown_default_model_is_refused() -> None:
    """With the models that there are: a typing error would otherwise surface at the first request."""
    settings = settings_of(default_model="llama3.2")
    with pytest.raises(ConfigurationError, match=r"unknown model 'llama3.2'; known models: .*gpt-4o"):
        check_models(settings, SHIPPED)
    check_models(settings, OLLAMA)


def test_an_unknown_fallback_is_logged() -> None:
    """Taking a model away must not keep workers from starting."""
    with capture_logs() as logs:
        check_models(settings_of(fallback_models=("gpt-9", "gpt-4o")), SHIPPED)
    assert [(each["event"], each["models"]) for each in logs] == [
        ("worker.unknown_fallback_models", ["gpt-9"])
    ]
