"""Updates through real boto3, under load: no request is lost or fails, whatever the update comes to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support import model
from tests.support.load import Load
from tests.support.model import ROW, expected, pack, packed_regressor
from tests.support.server import IMAGE, ROLE, Server, wait_until

ANSWERS = [expected(model.regressor(seed), ROW)[0] for seed in range(2)]
CLIENTS = 16


def configure(
    server: Server,
    name: str,
    archive: bytes,
    *,
    weights: tuple[float, ...] = (1.0,),
    count: int = 1,
    image: str = IMAGE,
    variant: str = "",
) -> str:
    """A bucket, model and configuration named `name`, of one variant a weight: `variant`, or A, B."""
    s3, sagemaker = server.client("s3"), server.client("sagemaker")
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="model.tar.gz", Body=archive)
    container = {"Image": image, "ModelDataUrl": f"s3://{name}/model.tar.gz"}
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variants: list[dict[str, Any]] = [
        {
            "VariantName": variant or "AB"[place],
            "ModelName": name,
            "InitialInstanceCount": count,
            "InstanceType": "ml.t3.medium",
            "InitialVariantWeight": weight,
            "RoutingConfig": {"RoutingStrategy": ("LEAST_OUTSTANDING_REQUESTS", "RANDOM")[place]},
        }
        for place, weight in enumerate(weights)
    ]
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
    return name


def settled(server: Server, name: str) -> dict[str, Any]:
    sagemaker = server.client("sagemaker")
    return wait_until(  # type: ignore[no-any-return]
        lambda: (d := sagemaker.describe_endpoint(EndpointName=name))["EndpointStatus"] != "Updating" and d,
        "an end",
        60,
    )


def more_answers(load: Load, count: int = 500) -> None:
    from_here = load.answered + count
    wait_until(lambda: load.answered > from_here or load.lost, f"{count} more answers", 60)


def test_an_update_loses_no_request(server: Server, regressor: Path) -> None:
    server.host("blue", regressor.read_bytes())
    configure(server, "blue-2", packed_regressor(1), count=2)
    sagemaker = server.client("sagemaker")
    with Load(server, "blue", ROW, clients=CLIENTS) as load:
        more_answers(load)
        answer = sagemaker.update_endpoint(EndpointName="blue", EndpointConfigName="blue-2")
        assert answer["EndpointArn"].endswith(":endpoint/blue")
        seen = settled(server, "blue")
        assert float(server.invoke("blue", ROW)) == ANSWERS[1]
        more_answers(load)
    assert load.lost == []
    assert (seen["EndpointStatus"], seen["EndpointConfigName"]) == ("InService", "blue-2")
    assert [v["CurrentInstanceCount"] for v in seen["ProductionVariants"]] == [2]
    wait_until(lambda: len(server.pids_of("clary: worker")) == 2, "the old worker is gone")
    sagemaker.delete_endpoint(EndpointName="blue")


def test_an_update_to_a_model_that_does_not_load_changes_nothing(server: Server, regressor: Path) -> None:
    server.host("firm", regressor.read_bytes())
    configure(server, "firm-2", pack({"xgboost-model": b"this is no model"}))
    sagemaker = server.client("sagemaker")
    with Load(server, "firm", ROW, clients=CLIENTS) as load:
        more_answers(load)
        sagemaker.update_endpoint(EndpointName="firm", EndpointConfigName="firm-2")
        seen = settled(server, "firm")
        more_answers(load)
    assert load.lost == []
    assert (seen["EndpointStatus"], seen["EndpointConfigName"]) == ("InService", "firm")
    assert "xgboost-model" in seen["FailureReason"]
    assert float(server.invoke("firm", ROW)) == ANSWERS[0]
    sagemaker.delete_endpoint(EndpointName="firm")


def test_weights_and_capacities_move_without_a_lost_request(server: Server, regressor: Path) -> None:
    configure(server, "split", regressor.read_bytes(), weights=(1.0, 0.0))
    sagemaker = server.client("sagemaker")
    sagemaker.create_endpoint(EndpointName="split", EndpointConfigName="split")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="split")
    with Load(server, "split", ROW, clients=CLIENTS) as load:
        more_answers(load)
        for weights, count in (((0.0, 1.0), 2), ((1.0, 1.0), 1)):
            sagemaker.update_endpoint_weights_and_capacities(
                EndpointName="split",
                DesiredWeightsAndCapacities=[
                    {"VariantName": "A", "DesiredWeight": weights[0]},
                    {"VariantName": "B", "DesiredWeight": weights[1], "DesiredInstanceCount": count},
                ],
            )
            seen = settled(server, "split")
            assert [v["CurrentWeight"] for v in seen["ProductionVariants"]] == list(weights)
            assert [v["CurrentInstanceCount"] for v in seen["ProductionVariants"]] == [1, count]
            more_answers(load)
    assert load.lost == []
    sagemaker.delete_endpoint(EndpointName="split")
