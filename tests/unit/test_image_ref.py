"""Names of images: what is read, what is refused and why."""

import pytest

from shipway.domain.errors import Invalid
from shipway.domain.image_ref import ImageRef

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag", "digest"),
    [
        ("python", "docker.io", "python", "", ""),
        ("python:3.12-slim", "docker.io", "python", "3.12-slim", ""),
        ("team/train:v1", "docker.io", "team/train", "v1", ""),
        ("localhost/base", "localhost", "base", "", ""),
        ("localhost:5000/a/b:c", "localhost:5000", "a/b", "c", ""),
        ("127.0.0.1:5055/a:latest", "127.0.0.1:5055", "a", "latest", ""),
        ("[::1]:5055/a", "[::1]:5055", "a", "", ""),
        (f"ghcr.io/o/i:t@{DIGEST}", "ghcr.io", "o/i", "t", DIGEST),
        (f"r.example.com/x@{DIGEST}", "r.example.com", "x", "", DIGEST),
    ],
)
def test_a_name_is_read_in_its_parts(
    text: str, host: str, repository: str, tag: str, digest: str
) -> None:
    ref = ImageRef.parse(text)
    assert (ref.host, ref.repository, ref.tag, ref.digest) == (host, repository, tag, digest)
    assert str(ref) == text
    assert ImageRef.parse(ref.exact).digest == digest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no repository"),
        ("-v", "no repository"),
        ("--privileged", "no repository"),
        ("a b", "no repository"),
        ("a\nb", "no repository"),
        ("Team/Train", "small letters only"),
        ("UPPER/case:1", "small letters only"),
        ("a:b c", "its tag"),
        ("a:-t", "its tag"),
        ("a@sha256:12", "its digest"),
        ("ho st:1/a", "no host"),
        ("-h.example/a", "no host"),
        ("host.example:port/a", "no host"),
        ("a//b", "no repository"),
        ("a/" + "b" * 255, "longer than"),
        ("$(id)", "no repository"),
        ("a;b", "no repository"),
        ("a,b", "no repository"),
        ("..", "no repository"),
    ],
)
def test_what_is_no_name_is_refused_with_why(text: str, words: str) -> None:
    with pytest.raises(Invalid, match=words) as caught:
        ImageRef.parse(text, field="docker_image")
    assert caught.value.details["field"] == "docker_image"


def test_a_digest_is_pinned_beside_the_tag() -> None:
    ref = ImageRef.parse("r.example:1/a:t").pinned(DIGEST)
    assert str(ref) == f"r.example:1/a:t@{DIGEST}"
    assert ref.exact == f"r.example:1/a@{DIGEST}"
    assert (ref.reference, ImageRef.parse("a").reference) == (DIGEST, "latest")
