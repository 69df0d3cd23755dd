"""MLflow's own SageMaker deployment client. Runs in MLflow's environment: python mlflow_calls.py."""

from __future__ import annotations

from importlib.metadata import version

import boto3
import mlflow
import numpy as np
import pandas as pd
from mlflow.deployments import get_deploy_client
from sklearn.linear_model import LinearRegression

NEEDED = ("mlflow-skinny", "pandas", "scikit-learn", "cloudpickle")
"""The default, whole MLflow, would be built too; it takes minutes."""
SHARED = {
    "execution_role_arn": "arn:aws:iam::123456789012:role/any",
    "image_url": f"123456789012.dkr.ecr.us-east-1.amazonaws.com/mlflow-pyfunc:{mlflow.__version__}",
    "region_name": "us-east-1",
    "instance_count": 1,
    "synchronous": True,
    "timeout_seconds": 600,
}


def main() -> None:
    rows = pd.DataFrame({"a": [0.0, 1.0, 2.0], "b": [1.0, 0.0, 1.0]})
    model = LinearRegression().fit(rows, [1.0, 2.0, 4.0])
    mlflow.sklearn.save_model(
        model,
        "model",
        serialization_format="cloudpickle",
        pip_requirements=[f"{one}=={version(one)}" for one in NEEDED],
        input_example=rows[:1],
    )
    client = get_deploy_client("sagemaker:/us-east-1")
    client.create_deployment(
        "rides", "model", flavor="python_function", config={**SHARED, "instance_type": "ml.m5.large"}
    )
    assert [one["EndpointName"] for one in client.list_deployments()] == ["rides"]
    assert client.get_deployment("rides")["EndpointStatus"] == "InService"
    asked(client, rows, model)
    changed = {**SHARED, "instance_type": "ml.m5.xlarge", "mode": "replace"}
    client.update_deployment("rides", "model", flavor="python_function", config=changed)
    asked(client, rows, model)
    client.delete_deployment("rides", config={"region_name": "us-east-1", "synchronous": True, "timeout_seconds": 600})
    sagemaker = boto3.client("sagemaker")
    assert sagemaker.list_endpoints()["Endpoints"] == []
    assert sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
    assert sagemaker.list_models()["Models"] == []
    print("done")


def asked(client: object, rows: pd.DataFrame, model: LinearRegression) -> None:
    answer = client.predict("rides", rows)["predictions"]
    assert np.allclose(answer, model.predict(rows)), answer


if __name__ == "__main__":
    main()
