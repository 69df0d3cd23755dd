"""Notebooks with SageMaker SDK 2.x. Runs in that SDK's environment: python sagemaker2_calls.py STORY [ARCHIVE]."""

from __future__ import annotations

import io
import os
import sys
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import sagemaker
from botocore.exceptions import ClientError
from sagemaker import Predictor, image_uris
from sagemaker.amazon.common import RecordSerializer
from sagemaker.deserializers import (
    BytesDeserializer,
    CSVDeserializer,
    JSONDeserializer,
    NumpyDeserializer,
    PandasDeserializer,
    StreamDeserializer,
    StringDeserializer,
)
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.model import Model
from sagemaker.serializers import (
    CSVSerializer,
    DataSerializer,
    IdentitySerializer,
    JSONLinesSerializer,
    JSONSerializer,
    LibSVMSerializer,
    NumpySerializer,
    StringSerializer,
)
from sagemaker.sklearn.estimator import SKLearn
from sagemaker.sklearn.model import SKLearnModel
from sagemaker.xgboost.estimator import XGBoost
from sagemaker.xgboost.model import XGBoostModel

ROLE = "arn:aws:iam::123456789012:role/any"
ROWS = [[0.5, -1.25, 3, 0.125], [1, 2, 3, 4]]
SCRIPT = """
import os

import joblib
import numpy as np


class Sums:
    def predict(self, rows):
        return np.asarray(rows).sum(axis=1)


def model_fn(model_dir):
    assert os.path.exists(os.path.join(model_dir, "note.txt"))
    return Sums()
"""
BOOSTER = """
import os

import xgboost


def model_fn(model_dir):
    booster = xgboost.Booster()
    booster.load_model(os.path.join(model_dir, "xgboost-model"))
    return booster
"""
TRAIN = """
import argparse
import os

import joblib
import numpy as np
from sklearn.linear_model import LinearRegression

parser = argparse.ArgumentParser()
parser.add_argument("--intercept", type=int)
parser.add_argument("--model-dir", default=os.environ["SM_MODEL_DIR"])
parser.add_argument("--train", default=os.environ["SM_CHANNEL_TRAIN"])
options = parser.parse_args()
rows = np.loadtxt(os.path.join(options.train, "train.csv"), delimiter=",")
model = LinearRegression(fit_intercept=bool(options.intercept)).fit(rows[:, 1:], rows[:, 0])
print("train_r2=%.4f;" % model.score(rows[:, 1:], rows[:, 0]))
joblib.dump(model, os.path.join(options.model_dir, "model.joblib"))
"""
LOAD = """
import os

import joblib


def model_fn(model_dir):
    return joblib.load(os.path.join(model_dir, "model.joblib"))
"""


def of_model(session: sagemaker.Session, archive: str) -> None:
    """Model.deploy with the image that the SDK knows; predict; update_endpoint; delete."""
    image = image_uris.retrieve("xgboost", session.boto_region_name, version="1.7-1")
    url = session.upload_data(archive, key_prefix="models")
    model = Model(image_uri=image, model_data=url, role=ROLE, sagemaker_session=session, predictor_cls=Predictor)
    predictor = model.deploy(1, "ml.t3.medium", serializer=CSVSerializer(), deserializer=CSVDeserializer())
    first = np.asarray(predictor.predict(ROWS), dtype=float).ravel()
    assert first.shape == (2,)
    for rows in (np.array(ROWS), pd.DataFrame(ROWS), "\n".join(",".join(map(str, row)) for row in ROWS)):
        again = predictor.predict(rows)
        assert np.allclose(np.asarray(again, dtype=float).ravel(), first), again
    predictor.serializer, predictor.deserializer = LibSVMSerializer(), StringDeserializer(accept="text/csv")
    said = predictor.predict("\n".join(" ".join(f"{n}:{value}" for n, value in enumerate(row)) for row in ROWS))
    assert np.allclose(np.array(said.replace("\n", ",").strip(",").split(","), dtype=float), first), said
    predictor.serializer, predictor.deserializer = RecordSerializer(), CSVDeserializer()
    records = predictor.predict(np.array(ROWS, dtype="float32"))
    assert np.allclose(np.asarray(records, dtype=float).ravel(), first, rtol=1e-5), records
    for serializer, rows in ((JSONLinesSerializer(), ROWS), (NumpySerializer(), np.array(ROWS))):
        predictor.serializer = serializer
        said = refused(predictor, rows)
        assert serializer.CONTENT_TYPE in said, said
    # What an application does: a predictor of an endpoint that somebody else made.
    other = Predictor(predictor.endpoint_name, session, IdentitySerializer("text/csv"), JSONDeserializer())
    assert np.allclose([one["score"] for one in other.predict("0.5,-1.25,3,0.125")["predictions"]], first[:1])
    predictor.update_endpoint(initial_instance_count=2, instance_type="ml.m5.large")
    described = session.sagemaker_client.describe_endpoint(EndpointName=predictor.endpoint_name)
    assert described["ProductionVariants"][0]["CurrentInstanceCount"] == 2, described
    predictor.delete_model()
    predictor.delete_endpoint(delete_endpoint_config=True)


def of_scripts(session: sagemaker.Session, archive: str) -> None:
    """SKLearnModel and XGBoostModel with scripts of this machine, and each serializer."""
    Path("src").mkdir()
    Path("src/inference.py").write_text(SCRIPT)
    with tarfile.open("note.tar.gz", "w:gz") as packed:
        entry = tarfile.TarInfo("note.txt")
        packed.addfile(entry, io.BytesIO(b""))
    url = session.upload_data("note.tar.gz", key_prefix="models")
    model = SKLearnModel(
        model_data=url,
        role=ROLE,
        entry_point="inference.py",
        source_dir="src",
        framework_version="1.2-1",
        sagemaker_session=session,
    )
    predictor = model.deploy(1, "ml.m5.large", wait=False)
    ready(session, predictor)
    sums = [sum(row) for row in ROWS]
    assert np.allclose(predictor.predict(np.array(ROWS)), sums)
    Path("rows.csv").write_text("\n".join(",".join(map(str, row)) for row in ROWS))
    pairs = [
        (JSONSerializer(), ROWS, JSONDeserializer(), lambda answer: answer),
        (CSVSerializer(), ROWS, CSVDeserializer(), lambda answer: np.asarray(answer, dtype=float).ravel()),
        (CSVSerializer(), ROWS, PandasDeserializer(accept="application/json"), lambda answer: answer[0]),
        (NumpySerializer(), ROWS, NumpyDeserializer(), lambda answer: answer),
        (NumpySerializer(), ROWS, BytesDeserializer(accept="application/x-npy"), lambda b: np.load(io.BytesIO(b))),
        (JSONSerializer(), ROWS, StreamDeserializer(accept="application/x-npy"), of_stream),
        (StringSerializer("text/csv"), Path("rows.csv").read_text(), JSONDeserializer(), lambda answer: answer),
        (DataSerializer("text/csv"), "rows.csv", JSONDeserializer(), lambda answer: answer),
    ]
    for serializer, rows, deserializer, values in pairs:
        predictor.serializer, predictor.deserializer = serializer, deserializer
        answer = values(predictor.predict(rows))
        assert np.allclose(np.asarray(answer, dtype=float), sums), (serializer, deserializer, answer)
    predictor.delete_model()
    predictor.delete_endpoint()
    Path("booster.py").write_text(BOOSTER)
    url = session.upload_data(archive, key_prefix="models")
    boosted = XGBoostModel(url, ROLE, "booster.py", framework_version="1.7-1", sagemaker_session=session)
    predictor = boosted.deploy(1, "ml.m5.large", serializer=CSVSerializer(), deserializer=CSVDeserializer(), wait=False)
    ready(session, predictor)
    assert np.asarray(predictor.predict(ROWS), dtype=float).ravel().shape == (2,)
    predictor.delete_model()
    predictor.delete_endpoint()


def of_stream(answer: tuple) -> np.ndarray:
    body, kind = answer
    assert kind == "application/x-npy"
    return np.load(io.BytesIO(body.read()))


def of_estimators(session: sagemaker.Session) -> None:
    """Estimator of the XGBoost image and SKLearn with a script: fit, then deploy."""
    Path("train.csv").write_text("\n".join(f"{i * 2},{i},{i % 3}" for i in range(200)))
    train = TrainingInput(session.upload_data("train.csv", key_prefix="data"), content_type="text/csv")
    image = image_uris.retrieve("xgboost", session.boto_region_name, version="1.7-1")
    output = f"s3://{session.default_bucket()}/out"
    estimator = Estimator(image, ROLE, 1, "ml.m5.large", sagemaker_session=session, output_path=output)
    estimator.set_hyperparameters(num_round=20, objective="reg:squarederror")
    estimator.fit({"train": train}, logs="All")
    assert estimator.model_data.startswith(output), estimator.model_data
    predictor = estimator.deploy(
        1, "ml.m5.large", serializer=CSVSerializer(), deserializer=CSVDeserializer(), wait=False
    )
    ready(session, predictor)
    answer = float(predictor.predict([[100, 1]])[0][0])
    assert abs(answer - 200) < 20, answer
    predictor.delete_endpoint()
    Path("code").mkdir()
    Path("code/train.py").write_text(TRAIN)
    Path("code/inference.py").write_text(LOAD)
    script = SKLearn(
        "train.py",
        source_dir="code",
        framework_version="1.2-1",
        role=ROLE,
        instance_type="ml.m5.large",
        sagemaker_session=session,
        hyperparameters={"intercept": 1},
        metric_definitions=[{"Name": "train:r2", "Regex": "train_r2=(.*?);"}],
    )
    script.fit({"train": train})
    found = session.sagemaker_client.describe_training_job(TrainingJobName=script.latest_training_job.name)
    assert found["FinalMetricDataList"][0]["Value"] == 1.0, found
    boosted = XGBoost(
        "train.py", "1.7-1", role=ROLE, instance_count=1, instance_type="ml.m5.large", source_dir="code",
        sagemaker_session=session, hyperparameters={"intercept": 0},
    )  # fmt: skip
    boosted.fit({"train": train}, logs=False)
    assert boosted.model_data.endswith("/output/model.tar.gz"), boosted.model_data
    predictor = script.deploy(1, "ml.m5.large", entry_point="inference.py", source_dir="code", wait=False)
    ready(session, predictor)
    assert np.allclose(predictor.predict(np.array([[100.0, 1.0]])), [200.0])
    predictor.delete_endpoint()


def of_notebook(session: sagemaker.Session, archive: str) -> None:
    """The first cells of a notebook on AWS: nothing names a server, a bucket or a role."""
    assert "AWS_ENDPOINT_URL" not in os.environ
    assert sagemaker.get_execution_role() == "arn:aws:iam::123456789012:role/notebook"
    role = sagemaker.get_execution_role(session)
    image = image_uris.retrieve("xgboost", session.boto_region_name, version="1.7-1")
    url = session.upload_data(archive, key_prefix="models")
    model = Model(image_uri=image, model_data=url, role=role, sagemaker_session=session, predictor_cls=Predictor)
    predictor = model.deploy(1, "ml.t3.medium", serializer=CSVSerializer(), deserializer=CSVDeserializer(), wait=False)
    ready(session, predictor)
    assert np.asarray(predictor.predict(ROWS), dtype=float).ravel().shape == (2,)
    predictor.delete_model()
    predictor.delete_endpoint()


def ready(session: sagemaker.Session, predictor: Predictor) -> None:
    """Wait by boto3: the SDK itself, which `of_model` leaves to its own pace, looks every 30 s."""
    session.sagemaker_client.get_waiter("endpoint_in_service").wait(EndpointName=predictor.endpoint_name)


def refused(predictor: Predictor, rows: object) -> str:
    try:
        predictor.predict(rows)
    except ClientError as error:
        return str(error)
    raise AssertionError("the container took it")


def main(story: str, *args: str) -> None:
    session = sagemaker.Session()
    assert session.default_bucket() == f"sagemaker-{session.boto_region_name}-123456789012"
    stories = {
        "model": of_model,
        "scripts": of_scripts,
        "estimators": of_estimators,
        "notebook": of_notebook,
    }
    stories[story](session, *args)
    print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
