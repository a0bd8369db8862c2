"""Handlers: one backend per process and alias, and errors that say what to correct."""

from __future__ import annotations

import importlib.metadata
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from django_obc_ai.backends.base import BaseBackend
from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.backends.embedders import embedders
from django_obc_ai.backends.embedders.hashing import HashingEmbedder
from django_obc_ai.backends.providers import providers
from django_obc_ai.backends.vector_stores import vector_stores
from django_obc_ai.backends.vector_stores.numpy import NumpyVectorStore
from django_obc_ai.exceptions import ConfigurationError, MissingDependencyError
from tests.fakes import (
    KEY,
    AbsentStore,
    CountedEmbedder,
    KeyedProvider,
    NestedAbsentStore,
    NoBackend,
    TellingProvider,
    entry,
)


@pytest.fixture(autouse=True)
def _from_zero() -> None:
    CountedEmbedder.made = CountedEmbedder.closed = 0


def refusal(handler: Any, alias: str = "default", **obc_ai: Any) -> ConfigurationError:
    with override_settings(OBC_AI=obc_ai), pytest.raises(ConfigurationError) as raised:
        handler[alias]
    return raised.value


class TwoSecrets(KeyedProvider):
    """Tells what was nested in its options."""

    def __init__(self, *, api_key: dict[str, list[str]], model: str) -> None:
        raise TypeError(f"cannot read {api_key} of {model!r}")


class OpenEnded(HashingEmbedder):
    """Takes any option."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options


class Particular(HashingEmbedder):
    """Checks its own options."""

    def __init__(self) -> None:
        raise ConfigurationError("No such model.", hint="Name another.", check_id="E004")


def test_sixteen_threads_share_one_instance() -> None:
    barrier = threading.Barrier(16)

    def get(_: int) -> object:
        barrier.wait()
        return embedders["default"]

    with override_settings(OBC_AI={"EMBEDDERS": entry(CountedEmbedder)}):
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(get, range(16)))
        assert len({id(each) for each in found}) == 1
        assert CountedEmbedder.made == 1


def test_nothing_is_built_before_it_is_used() -> None:
    with override_settings(OBC_AI={"EMBEDDERS": entry(CountedEmbedder)}):
        assert list(embedders) == ["default"]
        assert embedders.backend_class("default") is CountedEmbedder
        assert CountedEmbedder.made == 0


def test_each_alias_has_its_own_instance_and_options() -> None:
    family = {**entry(HashingEmbedder), "wide": entry(HashingEmbedder, dimension=2_048)["default"]}
    with override_settings(OBC_AI={"EMBEDDERS": family}):
        assert list(embedders) == ["default", "wide"]
        assert embedders["default"].dimension == 1_024
        assert embedders["wide"].dimension == 2_048


def test_a_changed_setting_closes_and_rebuilds() -> None:
    family = {"EMBEDDERS": entry(CountedEmbedder)}
    with override_settings(OBC_AI=family):
        first = embedders["default"]
        with override_settings(TIME_ZONE="UTC"):
            assert embedders["default"] is first
        assert CountedEmbedder.closed == 0
        with override_settings(OBC_AI=family):
            assert CountedEmbedder.closed == 1
            assert embedders["default"] is not first
        assert CountedEmbedder.closed == 2
    assert CountedEmbedder.made == 2


@pytest.mark.parametrize("handler", [providers, embedders, vector_stores, cost_stores])
def test_embedded_defaults_are_built_and_need_nothing(handler: Any) -> None:
    with override_settings(OBC_AI={}, BASE_DIR=None):
        backend = handler["default"]
        assert isinstance(backend, BaseBackend)
        assert backend is handler["default"]
        assert (backend.sdk_version(), backend.is_installed()) == ("", True)
        assert backend.check(handler.where("default")) == []


def test_an_unknown_alias_names_the_nearest() -> None:
    family = {**entry(HashingEmbedder), "semantic": entry(HashingEmbedder)["default"]}
    error = refusal(embedders, "sematic", EMBEDDERS=family)
    assert str(error) == "OBC_AI['EMBEDDERS'] has no entry 'sematic'. Did you mean 'semantic'?"
    assert error.__suppress_context__


@pytest.mark.parametrize(
    "path", ["django_obc_ai.no_such_module.Backend", "tests.fakes.NoSuchClass", "nodots"]
)
def test_a_path_that_cannot_be_imported_is_named(path: str) -> None:
    error = refusal(providers, PROVIDERS=entry(path))
    assert error.check_id == "E003"
    assert error.message.startswith("OBC_AI['PROVIDERS']['default']['BACKEND'] cannot be imported")
    assert error.hint == f"Check the dotted path {path!r}."


@pytest.mark.parametrize("path", [NoBackend, HashingEmbedder, "tests.fakes.entry"])
def test_a_class_of_another_family_is_refused(path: Any) -> None:
    error = refusal(cost_stores, COST_STORES=entry(path))
    assert error.check_id == "E003"
    assert "is not a subclass of django_obc_ai.backends.cost_stores.base.BaseCost" in error.message
    assert error.hint == "Derive the class from BaseCostStore."


def test_an_unknown_option_names_the_nearest() -> None:
    error = refusal(embedders, EMBEDDERS=entry(HashingEmbedder, dimensions=2_048))
    assert error.check_id == "E004"
    assert error.message == (
        "OBC_AI['EMBEDDERS']['default']['OPTIONS'] has the unknown option 'dimensions'."
    )
    assert error.hint == "Did you mean 'dimension'?"


def test_an_option_of_a_backend_without_options_is_refused() -> None:
    error = refusal(vector_stores, VECTOR_STORES=entry(NumpyVectorStore, path="/tmp"))
    assert error.hint == "No names are valid here."


def test_a_constructor_that_takes_anything_is_given_it() -> None:
    with override_settings(OBC_AI={"EMBEDDERS": entry(OpenEnded, anything=1)}):
        assert embedders["default"].options == {"anything": 1}  # type: ignore[attr-defined]


def test_a_missing_option_is_named() -> None:
    error = refusal(providers, PROVIDERS=entry(KeyedProvider))
    assert error.check_id == "E004"
    assert error.message == "OBC_AI['PROVIDERS']['default']['OPTIONS'] lacks the option 'api_key'."
    assert error.hint == "KeyedProvider cannot work without it."


def test_an_abstract_backend_is_refused() -> None:
    error = refusal(providers, PROVIDERS=entry("django_obc_ai.backends.providers.BaseProvider"))
    assert error.check_id == "E004"
    assert "BaseProvider" in error.message


def test_a_refused_option_value_is_explained() -> None:
    error = refusal(embedders, EMBEDDERS=entry(HashingEmbedder, dimension=12))
    assert error.check_id == "E004"
    assert error.message.startswith(
        "OBC_AI['EMBEDDERS']['default']['OPTIONS'] is refused by HashingEmbedder: dimension 12 is"
    )


@pytest.mark.parametrize("key", [KEY, "with'quote\\and\nline", "ünïcode-κey-🔑"])
def test_what_a_constructor_says_about_an_option_value_is_redacted(key: str) -> None:
    error = refusal(providers, PROVIDERS=entry(TellingProvider, api_key=key))
    assert "is refused by TellingProvider: the key" in error.message
    assert "is malformed" in error.message
    shown = "".join(traceback.format_exception(error))
    for text in (key, repr(key)[1:-1]):
        assert text not in f"{error} {error!r}"
        assert text not in shown


def test_option_values_inside_other_values_are_redacted_too() -> None:
    nested = {"main": [KEY, "other-secret"]}
    error = refusal(providers, PROVIDERS=entry(TwoSecrets, api_key=nested, model="fast-1"))
    shown = "".join(traceback.format_exception(error))
    for text in (KEY, "other-secret", "fast-1"):
        assert text not in shown


def test_an_error_of_ours_from_a_constructor_passes_unchanged() -> None:
    error = refusal(embedders, EMBEDDERS=entry(Particular))
    assert (error.message, error.hint) == ("No such model.", "Name another.")


@pytest.mark.parametrize(
    ("store", "command"),
    [
        (AbsentStore, 'python -m pip install "django-obc-ai[absent]"'),
        (NestedAbsentStore, "python -m pip install obc_ai_no_such_sdk"),
    ],
)
def test_a_missing_package_raises_the_exact_pip_command(store: type, command: str) -> None:
    error = refusal(vector_stores, VECTOR_STORES=entry(store))
    assert isinstance(error, MissingDependencyError)
    assert isinstance(error, ImproperlyConfigured)
    assert error.check_id == "E005"
    assert error.hint == f"Run: {command}"
    assert store.__name__ in error.message
    with pytest.raises(MissingDependencyError, match="pip install"):
        store.import_sdk()  # type: ignore[attr-defined]


def test_an_installed_package_is_imported_and_its_version_told() -> None:
    class Installed(BaseBackend):
        sdk_module = "numpy.linalg"

    assert Installed.is_installed()
    assert Installed.import_sdk().__name__ == "numpy.linalg"
    assert Installed.import_sdk("numpy.fft").__name__ == "numpy.fft"
    assert Installed.sdk_version() == f"numpy {importlib.metadata.version('numpy')}"


def test_a_module_without_a_distribution_has_no_version() -> None:
    class Local(BaseBackend):
        sdk_module = "tests"

    assert Local.sdk_version() == ""


def test_a_backend_that_failed_is_tried_again_when_settings_are_mended() -> None:
    with override_settings(OBC_AI={"EMBEDDERS": entry(HashingEmbedder, dimension=12)}):
        for _ in range(2):
            with pytest.raises(ConfigurationError):
                embedders["default"]
        with override_settings(OBC_AI={}):
            assert embedders["default"].dimension == 1_024
