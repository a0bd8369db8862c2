"""Which stores of an index a project gets that names none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.test import override_settings

from django_obc_ai.backends.lexical_stores import lexical_stores
from django_obc_ai.conf import EMBEDDED_BACKENDS, find_errors, get_settings
from django_obc_ai.testing import override_ai
from tests.extras import requires


def test_words_are_kept_in_files_where_base_dir_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kept = {"path": str(tmp_path / "var" / "words")}
    bases: dict[Any, dict[str, str]] = {
        tmp_path: kept,
        str(tmp_path): kept,
        None: {},
        "": {},
        tmp_path / "file": {},
    }
    for base, options in bases.items():
        with override_settings(BASE_DIR=base, OBC_AI={}):
            assert get_settings().lexical_stores["default"].options == options
            assert lexical_stores["default"].path == options.get("path")
            assert find_errors() == []
    own = {"LEXICAL_STORES": {"default": {"BACKEND": EMBEDDED_BACKENDS["LEXICAL_STORES"]}}}
    with override_settings(BASE_DIR=tmp_path, OBC_AI=own):
        assert lexical_stores["default"].path is None
    with override_settings(BASE_DIR=tmp_path), override_ai():
        assert lexical_stores["default"].path is None
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@requires("faiss")
def test_vectors_are_kept_in_files_where_faiss_is_and_base_dir_can_be_written(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    faiss = "django_obc_ai.backends.vector_stores.faiss.FaissVectorStore"
    numpy = EMBEDDED_BACKENDS["VECTOR_STORES"]
    for base, path in [
        (tmp_path, faiss),
        (str(tmp_path), faiss),
        (None, numpy),
        ("", numpy),
        (tmp_path / "file", numpy),
    ]:
        with override_settings(BASE_DIR=base):
            assert get_settings().vector_stores["default"].path == path
            assert find_errors() == []
    with override_settings(
        BASE_DIR=tmp_path, OBC_AI={"VECTOR_STORES": {"default": {"BACKEND": numpy}}}
    ):
        assert get_settings().vector_stores["default"].path == numpy
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
