"""Which vector store a project gets that names none."""

from __future__ import annotations

from pathlib import Path

from django.test import override_settings

from django_obc_ai.conf import EMBEDDED_BACKENDS, find_errors, get_settings
from tests.extras import requires


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
