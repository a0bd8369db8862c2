"""E004 and W002 where an embedder depends on a folder or on a provider."""

from __future__ import annotations

from pathlib import Path

from django_obc_ai.backends.embedders.gemini import GeminiEmbedder
from django_obc_ai.backends.embedders.onnx import OnnxEmbedder
from tests.checks.test_checks import PRICED, assert_only, found
from tests.extras import requires
from tests.fakes import KEY, KeyedProvider, WatchedProvider, entry


@requires("onnxruntime")
@requires("tokenizers")
def test_a_folder_without_a_model_is_e004(tmp_path: Path) -> None:
    messages = found(EMBEDDERS=entry(OnnxEmbedder, path=tmp_path))
    assert_only("E004", messages, "lacks model.onnx and tokenizer.json")
    for name in ("model.onnx", "tokenizer.json"):
        (tmp_path / name).touch()
    assert found(EMBEDDERS=entry(OnnxEmbedder, path=tmp_path)) == []


def test_a_provider_that_is_not_there_or_does_not_embed_is_e004() -> None:
    messages = found(EMBEDDERS=entry(GeminiEmbedder, provider="defualt"))
    assert_only("E004", messages, "names 'defualt', which OBC_AI['PROVIDERS'] lacks")
    assert "'default'" in str(messages[0].hint)
    assert_only("E004", found(EMBEDDERS=entry(GeminiEmbedder)), "does not embed texts")
    keyed = entry(KeyedProvider, api_key=KEY)
    messages = found(EMBEDDERS=entry(GeminiEmbedder), PROVIDERS=keyed, PRICES=PRICED)
    assert_only("E004", messages, "does not embed texts")


def test_an_embedding_model_without_a_price_is_w002() -> None:
    providers = {"PROVIDERS": entry(WatchedProvider, model="fake-1"), "PRICES": PRICED}
    assert found(EMBEDDERS=entry(GeminiEmbedder), **providers) == []
    messages = found(EMBEDDERS=entry(GeminiEmbedder, model="words"), **providers)
    assert_only("W002", messages, "The model 'words' of OBC_AI['EMBEDDERS']['default'] has no")
