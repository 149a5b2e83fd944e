"""Which `hf:` models may be opened: what an operator allows, and not a word about what else there is."""

import http.server
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.errors import ModelError
from engine.models.foreign import BYTES, HUB, ROOTS, allowed, may_download, policy_of_workers
from engine.models.language import open_pretrained, open_tokenizer


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is allowed, beside one that is not. Each holds a model's folder, and the hub's names of one organization are allowed."""
    for place in ("models/llama", "private/llama"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "config.json").write_text("{}")
    monkeypatch.setenv(ROOTS, f"{tmp_path}/elsewhere:{tmp_path}/models")
    monkeypatch.setenv(HUB, "Qwen/*, gpt2")
    return tmp_path / "models"


def refusal(name: str) -> str:
    with pytest.raises(ModelError) as refused:
        allowed(name)
    return str(refused.value)


def test_at_the_command_line_a_person_opens_what_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (ROOTS, HUB):
        monkeypatch.delenv(name, raising=False)

    assert [allowed(name) for name in ("/anywhere", "../here", "org/name")] == ["/anywhere", "../here", "org/name"]


def test_workers_open_nothing_unless_their_operator_says_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in policy_of_workers({HUB: "Qwen/*"}).items():
        monkeypatch.setenv(name, value)

    assert policy_of_workers({}) == {ROOTS: "", HUB: "", BYTES: "20000000000"}
    assert allowed("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"
    assert refusal("/etc").startswith("hf:/etc may not be opened on this machine: ")


def test_folders_below_a_root_and_hub_names_of_a_pattern_may_be_opened(root: Path) -> None:
    (root / "alias").symlink_to(root / "llama")

    assert [allowed(str(root / name)) for name in ("llama", "alias", "../models/llama")] == [str(root / "llama")] * 3
    assert [allowed(name) for name in ("Qwen/Qwen3-0.6B", "gpt2")] == ["Qwen/Qwen3-0.6B", "gpt2"]


@pytest.mark.parametrize(
    "name",
    [
        "{root}/../private/llama",
        "{root}/../private/nothing",
        "{root}x/llama",
        "/",
        "~/llama",
        "../private/llama",
        "./llama",
        "Qwen/../../private",
        "qwen/x",
        "gpt2/x",
        "gpt22",
        "Qwen/a/b",
        "{root}/\x00",
        "",
    ],
)
def test_what_lies_elsewhere_is_refused_in_the_same_words_whether_it_is_there_or_not(name: str, root: Path) -> None:
    name = name.format(root=root)

    assert refusal(name) == (
        f"hf:{name} may not be opened on this machine: its operator allows folders below STILLHOUSE_MODEL_ROOTS and hub names that match "
        "STILLHOUSE_HUB_MODELS."
    )


def test_a_link_that_leads_out_of_the_root_is_refused_and_one_within_it_is_not(root: Path) -> None:
    (root / "weights").write_text("w")
    (root / "llama/model.safetensors").symlink_to(root / "weights")
    within = allowed(str(root / "llama"))
    (root / "llama/tokenizer.json").symlink_to(root.parent / "private/llama/config.json")

    assert within == str(root / "llama")
    assert refusal(str(root / "llama")) == (
        f"hf:{root}/llama holds tokenizer.json, a link that leads out of STILLHOUSE_MODEL_ROOTS; put the file itself there."
    )


def test_a_pipe_in_a_models_folder_is_refused_and_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "llama/model.safetensors")

    assert refusal(str(root / "llama")) == f"hf:{root}/llama holds model.safetensors, which is no file; take it away."


@pytest.mark.parametrize("open_", [open_pretrained, open_tokenizer])
def test_models_and_tokenizers_are_opened_by_this_rule(open_, root: Path) -> None:
    with pytest.raises(ModelError, match="may not be opened on this machine"):
        open_(str(root.parent / "private/llama"))


@contextmanager
def hub(files: dict[str, int] | None) -> Iterator[tuple[str, list[str]]]:
    """A local hub that tells the sizes of the files of any model, or has none; its address, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404 if files is None else 200)
            self.end_headers()
            siblings = [{"rfilename": name, "size": size} for name, size in (files or {}).items()]
            self.wfile.write(json.dumps({"id": "Qwen/x", "siblings": siblings}).encode())

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


FILES = {"config.json": 1_000, "model.safetensors": 4_999_000, "pytorch_model.bin": 9_000_000, "README.md": 70_000_000}


@pytest.mark.parametrize("most", ["", "5000000", "99999999999"])
def test_a_hub_model_that_is_small_enough_may_be_downloaded(most: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(FILES) as (address, asked):
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv(BYTES, most)

        assert may_download("Qwen/x") is True

    assert asked == ([] if not most else ["/api/models/Qwen/x?blobs=true"])


def test_one_that_is_larger_than_the_operator_allows_is_refused_before_it_is_downloaded(
    monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    with hub(FILES) as (address, asked):
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv(BYTES, "4999999")

        with pytest.raises(ModelError) as refused:
            open_pretrained("Qwen/x")

    assert str(refused.value) == (
        "hf:Qwen/x has 5.0 MB to download; the operator of this machine allows 5.0 MB a model (STILLHOUSE_HUB_BYTES). Choose a smaller one."
    )
    assert asked == ["/api/models/Qwen/x?blobs=true"]


def test_where_the_hub_can_not_be_asked_only_its_cache_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BYTES, "4999999")
    with hub(None) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        unknown = may_download("Qwen/x")

    gone = may_download("Qwen/x")

    assert (unknown, gone) == (False, False)


@pytest.mark.parametrize("open_", [open_pretrained, open_tokenizer])
def test_a_folder_is_opened_without_a_question_to_the_hub(
    open_: Callable[[str], object], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub(FILES) as (address, asked):
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv(BYTES, "1")

        with pytest.raises(ModelError, match=r"can't be opened|can be opened"):
            open_(str(root / "llama"))

    assert asked == []


def test_a_number_of_bytes_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BYTES, "20 GB")

    with pytest.raises(ModelError) as refused:
        may_download("Qwen/x")

    assert str(refused.value) == "STILLHOUSE_HUB_BYTES must be a whole number of bytes, for example 20000000000; got '20 GB'."
