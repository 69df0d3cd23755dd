"""Every endpoint tells people and tools what it takes, and refuses what does not fit by row and column."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import joblib
import pytest
from botocore.exceptions import ClientError
from sklearn.linear_model import LinearRegression

from clary.cli.exit_codes import Exit
from tests.support.model import ROW, expected, regressor
from tests.support.server import Server
from tests.system.test_cli import clary, document


def get(server: Server, path: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(server.url + path, headers=headers), timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture(scope="module")
def rides(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An endpoint of three columns."""
    path = tmp_path_factory.mktemp("rides") / "model.joblib"
    joblib.dump(LinearRegression().fit([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], [1, 2, 3, 4]), path)
    return document(clary(server, "deploy", str(path), "--name", "Rides", "--json"))


def test_the_schema_is_the_models_own(server: Server, rides: dict[str, Any]) -> None:
    status, text = get(server, "/endpoints/rides/openapi.json")
    assert status == 200
    schema = json.loads(text)
    assert schema["servers"] == [{"url": server.url}]
    operation = schema["paths"]["/endpoints/Rides/invocations"]["post"]
    content = operation["requestBody"]["content"]
    assert set(content) == {"application/json", "text/csv", "application/x-npy"}
    assert content["application/json"]["schema"]["oneOf"][1] == {
        "type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3,
    }  # fmt: skip
    answer = operation["responses"]["200"]["content"]["application/json"]["example"]
    sent = urllib.request.Request(
        server.url + "/endpoints/Rides/invocations",
        content["text/csv"]["example"].encode(),
        {"content-type": "text/csv"},
    )
    assert json.loads(urllib.request.urlopen(sent, timeout=30).read()) == answer


def test_the_page_shows_the_same(server: Server, rides: dict[str, Any]) -> None:
    status, text = get(server, "/endpoints/Rides/docs")
    assert status == 200
    for part in ("InService", "<td>number</td>", "Answered by the model", f"{server.url}/endpoints/Rides/invocations"):
        assert part in text
    assert rides["docs"] == f"{server.url}/endpoints/Rides/docs"
    assert get(server, "/endpoints/Rides/docs", Host="evil.example")[0] == 403
    assert get(server, "/endpoints/none/docs")[0] == get(server, "/endpoints/none/openapi.json")[0] == 404


def test_a_bucket_of_that_name_is_still_a_bucket(server: Server) -> None:
    s3 = server.client("s3")
    s3.create_bucket(Bucket="endpoints")
    s3.put_object(Bucket="endpoints", Key="rides/docs", Body=b"an object")
    assert s3.get_object(Bucket="endpoints", Key="rides/docs")["Body"].read() == b"an object"
    address = s3.generate_presigned_url("get_object", Params={"Bucket": "endpoints", "Key": "rides/docs"})
    assert get(server, address.removeprefix(server.url)) == (200, "an object")


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        ("1,2,3\n1,x,3", "text/csv", "Row 2, column 2 holds 'x', which is no number."),
        ("1,2", "text/csv", "Row 1 has 2 values where 3 columns are wanted."),
        ("[[1, 2, 3], [1, 2, null]]", "application/json", ""),
        ('[[1, 2, "x"]]', "application/json", "Row 1, column 3 holds 'x', which is no number."),
    ],
)
def test_a_refusal_names_row_and_column(
    server: Server, rides: dict[str, Any], body: str, content_type: str, said: str
) -> None:
    runtime = server.client("sagemaker-runtime", retries={"total_max_attempts": 1})
    with pytest.raises(ClientError) as refused:
        runtime.invoke_endpoint(EndpointName="Rides", ContentType=content_type, Body=body)
    assert refused.value.response["OriginalStatusCode"] == 400
    assert refused.value.response["OriginalMessage"].endswith(said)


def test_feature_names_of_a_booster_are_on_the_page(server: Server, tmp_path: Path) -> None:
    model = regressor()
    model.feature_names = ["zone <a>", "miles", "hour", "day"]
    model.save_model(tmp_path / "model.ubj")
    document(clary(server, "deploy", str(tmp_path / "model.ubj"), "--name", "named", "--json"))
    assert "zone &lt;a&gt;" in get(server, "/endpoints/named/docs")[1]
    schema = json.loads(get(server, "/endpoints/named/openapi.json")[1])
    assert schema["components"]["schemas"]["Row"]["required"] == model.feature_names
    assert float(server.invoke("named", ROW)) == expected(regressor(), ROW)[0]


def test_a_sample_names_the_columns_and_is_answered_first(server: Server, tmp_path: Path) -> None:
    model = LinearRegression().fit([[0, 0], [1, 0], [0, 1]], [1, 2, 3])
    joblib.dump(model, tmp_path / "model.joblib")
    (tmp_path / "good.csv").write_text("zone,miles\n1,2\n3,4\n")
    (tmp_path / "wide.csv").write_text("zone,miles,fare\n1,2,3\n")
    deploy = ("deploy", str(tmp_path / "model.joblib"), "--name", "sampled")
    refused = clary(server, *deploy, "--sample", str(tmp_path / "wide.csv"))
    assert refused.returncode == Exit.FAILED
    assert "The sample has 3 columns, the model takes 2." in refused.stderr
    said = clary(server, *deploy, "--sample", str(tmp_path / "good.csv"))
    assert said.returncode == 0, said.stderr
    assert "--data-binary '1,2\n3,4\n'" in said.stderr
    schema = json.loads(get(server, "/endpoints/sampled/openapi.json")[1])
    assert schema["components"]["schemas"]["Row"]["required"] == ["zone", "miles"]
    answer = schema["paths"]["/endpoints/sampled/invocations"]["post"]["responses"]["200"]["content"]
    assert answer["application/json"]["example"] == pytest.approx([6, 12])
    with pytest.raises(ClientError) as asked:
        server.invoke("sampled", "1,far")
    assert asked.value.response["OriginalMessage"].endswith("Row 1, column 2 'miles' holds 'far', which is no number.")
