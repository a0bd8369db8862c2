"""One test for each system check of settings and backends; indexes are in the module beside."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from django.core import checks
from django.test import override_settings

import django_obc_ai
from django_obc_ai.backends.cost_stores.memory import MemoryCostStore
from django_obc_ai.backends.embedders.hashing import HashingEmbedder
from django_obc_ai.backends.lexical_stores.bm25 import BM25LexicalStore
from tests.fakes import (
    KEY,
    AbsentStore,
    FolderStore,
    FussyProvider,
    KeyedProvider,
    NoBackend,
    TellingProvider,
    entry,
)
from tests.subprocesses import ROOT, run_python

#: Django asks SQLite whether it knows JSON when it checks the models; an open
#: transaction here would lock the file for the processes that do so too.
pytestmark = pytest.mark.django_db(transaction=True)

DOCS = "https://django-obc-ai.readthedocs.io/en/latest/reference/checks.html"
#: What comes under ``check --deploy`` alone has a page of its own.
DEPLOYMENT = {"W003", "W005", "W017", *(f"W{n:03}" for n in range(21, 29))}
PRICED = {"fake-1": {"input_usd": 1, "output_usd": 2}}
BUDGET = {"scope": "global", "period": "day", "limit_usd": "5"}
SHARED = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "c"}}
PRIVATE = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}


def ours(messages: list[checks.CheckMessage]) -> list[checks.CheckMessage]:
    return [each for each in messages if each.id and each.id.startswith("django_obc_ai.")]


def assert_only(number: str, messages: list[checks.CheckMessage], text: str = "") -> None:
    """Each message has this id, a hint, the link to its paragraph, and one holds the text."""
    assert {each.id for each in messages} == {f"django_obc_ai.{number}"}
    for each in messages:
        assert each.hint is not None
        advice, _, link = each.hint.partition(" See ")
        assert advice.endswith((".", "?", number, "]")) or "Run: " in advice, advice
        page = DOCS if number not in DEPLOYMENT else DOCS.replace("/checks.", "/deployment-checks.")
        assert link == f"{page}#{number.lower()}"
        assert each.is_serious() == number.startswith("E")
    assert any(text in each.msg for each in messages), [each.msg for each in messages]


def found(*, deploy: bool = False, **obc_ai: Any) -> list[checks.CheckMessage]:
    with override_settings(OBC_AI=obc_ai):
        return ours(checks.run_checks(include_deployment_checks=deploy))


def test_every_id_in_the_source_has_a_test_named_after_it() -> None:
    package = Path(django_obc_ai.__file__).parent
    source = "".join(path.read_text() for path in package.rglob("*.py"))
    emitted = set(re.findall(r"[\"']([EW]\d{3})[\"']", source))
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert emitted == set(re.findall(r"def test_([EW]\d{3})_", tests))
    assert emitted >= {f"E{n:03}" for n in range(1, 12)} | {f"W{n:03}" for n in range(1, 9)}


def test_sound_settings_are_silent() -> None:
    with override_settings(CACHES=SHARED):
        assert found(deploy=True) == []
        paid = {"PROVIDERS": entry(KeyedProvider, api_key=KEY), "PRICES": PRICED}
        assert found(deploy=True, **paid, BUDGETS=[BUDGET]) == []


def test_manage_py_check_is_silent_in_clean_settings() -> None:
    command = ["-W", "error", "-m", "django", "check", "--settings=tests.settings"]
    result = run_python(command, cwd=ROOT)
    assert result.stdout == "System check identified no issues (0 silenced).\n"
    assert result.returncode == 0


def test_checks_can_be_run_by_their_tag() -> None:
    with override_settings(OBC_AI={"PROVIDER": {}}):
        assert_only("E001", list(checks.run_checks(tags=["obc_ai"])))


def test_E001_unknown_key() -> None:  # noqa: N802 - named after its id
    messages = found(PROVIDER={}, CACHE={"aliases": 1})
    assert_only("E001", messages, "OBC_AI has the unknown key 'PROVIDER'.")
    assert len(messages) == 2
    assert messages[0].hint is not None
    assert messages[0].hint.startswith("Did you mean 'PROVIDERS'?")


def test_E002_wrong_type() -> None:  # noqa: N802
    messages = found(RETRY=3, DATABASE=None, PROVIDERS=[])
    assert_only("E002", messages, "OBC_AI['RETRY'] is of type int, not a dictionary.")
    assert len(messages) == 3


@pytest.mark.parametrize(
    ("obc_ai", "text"),
    [
        ({"EMBEDDERS": entry("no.such.Class")}, "OBC_AI['EMBEDDERS']['default']['BACKEND'] cannot"),
        ({"PROVIDERS": entry(NoBackend)}, "OBC_AI['PROVIDERS']['default']['BACKEND'] 'tests.fa"),
        ({"CONTEXT": ["no.such.Context"]}, "OBC_AI['CONTEXT'][0] cannot be imported"),
        ({"CONTEXT": ["tests.fakes.NoBackend"]}, "OBC_AI['CONTEXT'][0] 'tests.fakes.NoBackend' is"),
        ({"SCOPE": "no.such.scope"}, "OBC_AI['SCOPE'] cannot be imported"),
        ({"LOG": {"redact_with": "no.such"}}, "OBC_AI['LOG']['redact_with'] cannot be imported"),
        ({"CACHE": {"warm": "no.such"}}, "OBC_AI['CACHE']['warm'] cannot be imported"),
        ({"CACHE": {"models": ["auth.Grop"]}}, "OBC_AI['CACHE']['models'] names 'auth.Grop', wh"),
    ],
)
def test_E003_not_importable(obc_ai: dict[str, Any], text: str) -> None:  # noqa: N802
    assert_only("E003", found(**obc_ai), text)


def test_a_path_that_can_be_imported_is_fine() -> None:
    assert found(SCOPE="tests.fakes.entry") == []
    text = "OBC_AI['SCOPE'] names something that cannot be called"
    assert_only("E002", found(SCOPE="tests.settings.ROOT_URLCONF"), text)
    assert found(LOG={"redact_with": "tests.fakes.entry"}) == []
    assert_only("E002", found(LOG={"redact_with": "tests.settings.ROOT_URLCONF"}), "be called")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"dimensions": 2_048}, "['OPTIONS'] has the unknown option 'dimensions'."),
        ({"dimension": 3}, "['OPTIONS'] is refused by HashingEmbedder: dimension 3"),
    ],
)
def test_E004_wrong_option(options: dict[str, Any], text: str) -> None:  # noqa: N802
    assert_only("E004", found(EMBEDDERS=entry(HashingEmbedder, **options)), text)


def test_a_missing_option_is_e004_whatever_the_alias() -> None:
    family = {**entry(HashingEmbedder), "other": entry("tests.fakes.FolderStore")["default"]}
    del family["default"]
    stores = {**entry("django_obc_ai.backends.vector_stores.numpy.NumpyVectorStore"), **family}
    messages = found(VECTOR_STORES=stores)
    assert_only("E004", messages, "OBC_AI['VECTOR_STORES']['other']['OPTIONS'] lacks the option")


def test_E005_missing_extra() -> None:  # noqa: N802
    (message,) = found(VECTOR_STORES=entry(AbsentStore))
    assert_only("E005", [message], "OBC_AI['VECTOR_STORES']['default']: AbsentStore needs")
    assert message.hint is not None
    assert 'Run: python -m pip install "django-obc-ai[absent]" See' in message.hint


@pytest.mark.parametrize("key", ["", None])
def test_E006_missing_api_key(key: Any) -> None:  # noqa: N802
    messages = found(PROVIDERS=entry(KeyedProvider, api_key=key), PRICES=PRICED)
    assert_only("E006", messages, "OBC_AI['PROVIDERS']['default'] has no API key.")


def test_a_provider_without_the_option_lacks_key_and_option() -> None:
    numbers = {each.id for each in found(PROVIDERS=entry(KeyedProvider), PRICES=PRICED)}
    assert numbers == {"django_obc_ai.E004", "django_obc_ai.E006"}


def test_E007_cache_alias_missing() -> None:  # noqa: N802
    with override_settings(CACHES={**PRIVATE, "answers": PRIVATE["default"]}):
        (message,) = found(CACHE={"alias": "answer"})
        assert_only("E007", [message], "names the cache 'answer', which CACHES lacks.")
        assert message.hint is not None and message.hint.startswith("Did you mean 'answers'?")
        assert found(CACHE={"alias": "answers"}) == []
        assert found(CACHE={"alias": None}) == []


def _stores(path: str | Path) -> dict[str, Any]:
    return {"VECTOR_STORES": entry(FolderStore, path=str(path))}


def test_the_folder_of_words_must_be_writable_too(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, wrong in (("words", False), ("file/words", True)):
        messages = found(LEXICAL_STORES=entry(BM25LexicalStore, path=str(tmp_path / name)))
        assert len(messages) == wrong
        if wrong:
            where = "OBC_AI['LEXICAL_STORES']['default']['OPTIONS']['path'] is not writable."
            assert_only("E008", messages, where)


def test_E008_path_not_writable(tmp_path: Path) -> None:  # noqa: N802
    file = tmp_path / "file"
    file.touch()
    for path in (file, file / "vectors", file / "deep" / "vectors"):
        assert_only("E008", found(**_stores(path)), "['default']['OPTIONS']['path'] is not writ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert_only("E008", found(**_stores(tmp_path / "vectors")))
    tmp_path.chmod(0o700)


def test_a_folder_that_can_be_made_is_fine(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "var" / "vectors", "var/vectors"):
        assert found(**_stores(path)) == []


def test_E010_database_missing() -> None:  # noqa: N802
    (message,) = found(DATABASE="defaults")
    assert_only("E010", [message], "OBC_AI['DATABASE'] names 'defaults', which DATABASES lacks.")
    assert message.hint is not None and message.hint.startswith("Did you mean 'default'?")


def test_E017_stand_in_missing() -> None:  # noqa: N802
    memory = entry(MemoryCostStore)["default"]
    stores = {"default": memory, "spare": memory}
    (message,) = found(COST_STORES=stores, MONEY={"stand_in": "spaer"})
    text = "OBC_AI['MONEY']['stand_in'] names 'spaer', which COST_STORES lacks."
    assert_only("E017", [message], text)
    assert message.hint is not None and message.hint.startswith("Did you mean 'spare'?")
    assert not [m for m in found(COST_STORES=stores, MONEY={"stand_in": "spare"}) if "E017" in m.id]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A project whose settings are a package, as many are."""
    package = tmp_path / "site_under_test" / "settings"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "base.py").write_text(
        "import os\n"
        "from tests.settings import *\n"
        "OBC_AI = {'PROVIDERS': {'default': {'BACKEND': 'tests.fakes.KeyedProvider',"
        " 'OPTIONS': {'api_key': os.environ['FAKE_KEY']}}},"
        " 'PRICES': {'fake-1': {'input_usd': 1, 'output_usd': 2}}}\n"
    )
    (package / "production.py").write_text("from site_under_test.settings.base import *\n")
    return package


def _check_site(site: Path, key: str = KEY) -> str:
    command = ["-m", "django", "check", "--settings=site_under_test.settings.production"]
    folder = site.parent.parent
    result = run_python(command, cwd=folder, path=[folder], environment={"FAKE_KEY": key})
    assert result.returncode == 0, result.stdout
    assert key not in result.stdout
    return result.stdout


def test_a_key_from_the_environment_is_fine(site: Path) -> None:
    assert _check_site(site) == "System check identified no issues (0 silenced).\n"


@pytest.mark.parametrize("name", ["base.py", "production.py", "local.py"])
def test_W001_key_in_source(site: Path, name: str) -> None:  # noqa: N802
    with (site / name).open("a") as file:
        file.write(f"UNUSED = '{KEY}'\n")
    if name == "local.py":
        assert "W001" not in _check_site(site)  # nobody imports it
        with (site / "production.py").open("a") as file:
            file.write("from site_under_test.settings.local import *\n")
    output = _check_site(site)
    assert f"The API key of OBC_AI['PROVIDERS']['default'] stands in {name}." in output
    assert "(django_obc_ai.W001)" in output
    assert "HINT: Read it from the environment, and replace the key: it may be in the" in output
    assert f"{DOCS}#w001" in output


def test_a_placeholder_is_no_key(site: Path) -> None:
    with (site / "base.py").open("a") as file:
        file.write("UNUSED = 'change-me'\n")
    assert "W001" not in _check_site(site, "change-me")


def test_W002_model_without_price() -> None:  # noqa: N802
    options = {"api_key": KEY, "model": "fake-9"}
    (message,) = found(PROVIDERS=entry(KeyedProvider, **options), PRICES=PRICED)
    assert_only("W002", [message], "The model 'fake-9' of OBC_AI['PROVIDERS']['default'] has no")
    assert message.hint is not None and "OBC_AI['PRICES']['fake-9']" in message.hint
    later = {"fake-9": {**PRICED["fake-1"], "effective_from": "2999-01-01"}}
    assert_only("W002", found(PROVIDERS=entry(KeyedProvider, **options), PRICES=later))


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "models/gemini-4-argon"])
def test_models_of_the_table_need_no_price_in_the_settings(model: str) -> None:
    assert found(PROVIDERS=entry(KeyedProvider, api_key=KEY, model=model)) == []


def test_free_providers_need_no_price() -> None:
    assert found() == []


@pytest.mark.parametrize("backend", ["locmem.LocMemCache", "dummy.DummyCache"])
def test_W003_cache_not_shared(backend: str) -> None:  # noqa: N802
    caches = {"default": {"BACKEND": f"django.core.cache.backends.{backend}"}}
    with override_settings(CACHES=caches):
        assert_only("W003", found(deploy=True), f"uses {backend.partition('.')[2]}, which workers")
        assert found(deploy=False) == []
        shared = {**caches, "shared": SHARED["default"]}
        with override_settings(CACHES=shared):
            web = {"throttle_cache": "shared"}
            assert found(deploy=True, CACHE={"alias": None}, WEB=web) == []


def test_W005_cost_store_not_shared() -> None:  # noqa: N802
    with override_settings(CACHES=SHARED):
        messages = found(deploy=True, COST_STORES=entry(MemoryCostStore))
        assert_only("W005", messages, "OBC_AI['COST_STORES']['default'] is not shared between")
        assert found(deploy=False, COST_STORES=entry(MemoryCostStore)) == []


def test_a_broken_cost_store_is_reported_once() -> None:
    with override_settings(CACHES=SHARED):
        assert_only("E003", found(deploy=True, COST_STORES=entry("no.such.Store")))


def test_broken_settings_are_reported_once_and_nothing_else_is_tried() -> None:
    (message,) = found(deploy=True, PROVIDERS=entry("no.such.Provider"), RETRY=3)
    assert_only("E002", [message])


def test_what_a_backend_finds_in_itself_is_reported() -> None:
    with override_settings(
        OBC_AI={"PROVIDERS": entry(FussyProvider, api_key=KEY), "PRICES": PRICED}
    ):
        messages = checks.run_checks()
    assert [each.id for each in messages] == ["fussy.W001", "fussy.E001"]
    assert messages[0].msg == "OBC_AI['PROVIDERS']['default'] is slow."


def test_no_message_holds_a_key() -> None:
    for backend in (TellingProvider, KeyedProvider, FussyProvider):
        for message in found(deploy=True, PROVIDERS=entry(backend, api_key=KEY)):
            assert KEY not in str(message)
