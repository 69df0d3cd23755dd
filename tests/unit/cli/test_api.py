"""What the small client makes of answers, and what it sends."""

from __future__ import annotations

import io
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from clary.cli import api as module
from clary.cli.api import Answer, Api, ApiError, error_of, exit_of, xml_text
from clary.cli.connect import Keys, Target
from clary.cli.exit_codes import CliError, Exit
from tests.unit.cli.conftest import Asked, Scripted


@pytest.mark.parametrize(
    ("status", "code", "message", "exit_status"),
    [
        (400, "ValidationException", 'Could not find endpoint "arn".', Exit.NOT_FOUND),
        (400, "ValidationError", "Endpoint x of account 1 not found.", Exit.NOT_FOUND),
        (404, "NoSuchBucket", "The specified bucket does not exist", Exit.NOT_FOUND),
        (400, "ValidationException", 'Cannot create already existing endpoint "arn".', Exit.REFUSED),
        (400, "ValidationException", "1 validation error detected", Exit.REFUSED),
        (424, "ModelError", "Received client error (400) from primary", Exit.MODEL),
        (424, "ModelError", "the file was not found", Exit.MODEL),
        (403, "AccessDenied", "", Exit.DENIED),
        (403, "SignatureDoesNotMatch", "", Exit.DENIED),
        (400, "UnrecognizedClientException", "The security token is invalid: key not found", Exit.DENIED),
        (429, "ModelNotReadyException", "", Exit.UNAVAILABLE),
        (503, "ServiceUnavailable", "", Exit.UNAVAILABLE),
        (500, "InternalFailure", "", Exit.UNAVAILABLE),
    ],
)
def test_every_kind_of_error_has_its_exit_status(status: int, code: str, message: str, exit_status: Exit) -> None:
    assert exit_of(status, code, message) is exit_status


@pytest.mark.parametrize(
    ("headers", "body", "code", "message"),
    [
        ({}, b'{"__type": "com.amazon#ValidationException", "message": "m"}', "ValidationException", "m"),
        ({"x-amzn-errortype": "ModelError:http://internal/"}, b'{"Message": "m"}', "ModelError", "m"),
        (
            {},
            b"<Error><Code>NoSuchKey</Code><Message>a &lt;b&gt; &amp;amp;</Message></Error>",
            "NoSuchKey",
            "a <b> &amp;",
        ),
        ({}, b'<E xmlns="x"><Error><Code>A</Code><Message>m</Message></Error></E>', "A", "m"),
        ({}, b'{"code": "AccessDenied", "message": "m"}', "AccessDenied", "m"),
        ({}, b"Bad Gateway\n", "", "Bad Gateway"),
        ({}, b"", "", " (HTTP 418)"),
    ],
)
def test_errors_are_read_from_json_xml_and_plain_text(
    headers: dict[str, str], body: bytes, code: str, message: str
) -> None:
    error = error_of(Answer(418, headers, body))
    assert (error.aws_code, error.message) == (code, message)


def test_pages_are_followed_to_the_last(scripted: Scripted) -> None:
    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, b'{"Models": [2]}' if asked.members.get("NextToken") else b'{"Models": [1], "NextToken": "t"}'

    scripted.answers["ListModels"] = answer
    assert list(scripted.api.pages("ListModels", "Models", SortBy="Name")) == [1, 2]
    assert [request.members for request in scripted.asked] == [{"SortBy": "Name"}, {"SortBy": "Name", "NextToken": "t"}]


def test_requests_are_signed_for_their_service_and_region(scripted: Scripted) -> None:
    scripted.api.sagemaker("ListModels")
    scripted.api.invoke("a b/c", b"1", {"content-type": "text/csv"})
    found = [request.headers["authorization"] for request in scripted.asked]
    assert all(
        re.match(r"AWS4-HMAC-SHA256 Credential=CLARYID/\d{8}/us-east-1/sagemaker/aws4_request, ", f) for f in found
    )
    assert scripted.asked[1].path == "/endpoints/a%20b%2Fc/invocations"


def test_the_account_comes_from_sts(scripted: Scripted) -> None:
    scripted.say("POST /", 200, b"<R xmlns='x'><GetCallerIdentityResult><Account>111122223333</Account></R>")
    assert scripted.api.account() == "111122223333"


def test_a_small_object_goes_in_one_request_a_large_one_in_parts(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 4)
    seen: list[int] = []
    scripted.api.upload("b", "k y", io.BytesIO(b"1234"), 4, seen.append)
    assert [(a.method, a.path, a.body) for a in scripted.asked] == [("PUT", "/b/k%20y", b"1234")]
    scripted.asked.clear()
    scripted.say("POST /b/k", 200, b"<I><UploadId>u&amp;1</UploadId></I>")
    scripted.say("PUT /b/k", 200, b"", etag='"e"')
    scripted.api.upload("b", "k", io.BytesIO(b"1234567890"), 10, seen.append)
    assert [(a.method, a.path) for a in scripted.asked] == [
        ("POST", "/b/k?uploads="),
        ("PUT", "/b/k?partNumber=1&uploadId=u%261"),
        ("PUT", "/b/k?partNumber=2&uploadId=u%261"),
        ("PUT", "/b/k?partNumber=3&uploadId=u%261"),
        ("POST", "/b/k?uploadId=u%261"),
    ]
    assert scripted.asked[-1].body.count(b"<Part>") == 3
    assert b'<PartNumber>3</PartNumber><ETag>"e"</ETag>' in scripted.asked[-1].body
    assert seen == [4, 4, 4, 2]


def test_an_upload_that_fails_half_way_is_aborted(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 4)
    scripted.say("POST /b/k", 200, b"<I><UploadId>u</UploadId></I>")
    scripted.say("PUT /b/k", 507, b"<Error><Code>InsufficientStorage</Code><Message>full</Message></Error>")
    with pytest.raises(ApiError, match="full"):
        scripted.api.upload("b", "k", io.BytesIO(b"123456"), 6, lambda _: None)
    assert scripted.asked[-1].method == "DELETE"


def test_no_server_is_an_error_with_the_address_and_where_it_came_from() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        api = Api(Target(url, "CLARY_URL", "us-east-1", Keys("a", "b", "", "none"), Path("/")))
        with pytest.raises(CliError, match=re.escape(f"No server answers at {url} (from CLARY_URL)")) as refused:
            api.sagemaker("ListModels")
    assert refused.value.code is Exit.NO_SERVER
    assert "clary serve" in refused.value.remedy


@pytest.fixture
def rude_server() -> Iterator[str]:
    """Takes one connection and closes it without a word."""
    import threading

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def close_one() -> None:
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.close()

        thread = threading.Thread(target=close_one)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_a_connection_that_breaks_is_no_traceback(rude_server: str) -> None:
    api = Api(Target(rude_server, "--url", "us-east-1", Keys("a", "b", "", "none"), Path("/")))
    with pytest.raises(CliError) as refused:
        api.sagemaker("ListModels")
    assert refused.value.code is Exit.NO_SERVER


def test_xml_text_is_the_first_of_that_name_only() -> None:
    assert xml_text(b"<A><CodeX>no</CodeX><Code>yes</Code><Code>later</Code></A>", "Code") == "yes"
    assert xml_text(b"<A/>", "Code") == ""
