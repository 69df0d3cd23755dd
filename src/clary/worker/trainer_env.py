"""Script mode of training: the SM_ variables and the arguments that a training script sees. Pure.

As the SageMaker training toolkit gives them (its ENVIRONMENT_VARIABLES.md), but for the folder: what stands below
/opt/ml there stands below the job's own folder here, because the real one would need root.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clary.worker.trainer_options import TrainerOptions

HOST = "algo-1"
FRAMEWORK_PARAMETERS = (
    "sagemaker_program",
    "sagemaker_submit_directory",
    "sagemaker_region",
    "sagemaker_job_name",
    "sagemaker_container_log_level",
    "sagemaker_enable_cloudwatch_metrics",
    "sagemaker_estimator_class_name",
    "sagemaker_estimator_module",
    "_tuning_objective_metric",
)
"""Hyperparameters for the container, not for the script."""
_LOG_LEVEL = 20
_FRAMEWORK_MODULES = {
    "sklearn": "sagemaker_sklearn_container.training:main",
    "xgboost": "sagemaker_xgboost_container.training:main",
}


def decoded(value: str) -> Any:
    """A hyperparameter's value: JSON where it is, else the text itself."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def user_hyperparameters(given: Mapping[str, str]) -> dict[str, Any]:
    """The script's own, decoded, by name."""
    return {name: decoded(given[name]) for name in sorted(given) if name not in FRAMEWORK_PARAMETERS}


def arguments(hyperparameters: Mapping[str, Any]) -> list[str]:
    """`--name value` for each, `-n value` for names of one character."""
    words: list[str] = []
    for name in sorted(hyperparameters):
        value = hyperparameters[name]
        words += [f"--{name}" if len(name) > 1 else f"-{name}", value if isinstance(value, str) else _shown(value)]
    return words


def _shown(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)


def resource_config(options: TrainerOptions) -> dict[str, Any]:
    """input/config/resourceconfig.json."""
    return {
        "current_host": HOST,
        "current_instance_type": options.instance_type,
        "current_group_name": "homogeneousCluster",
        "hosts": [HOST],
        "instance_groups": [
            {"instance_group_name": "homogeneousCluster", "instance_type": options.instance_type, "hosts": [HOST]}
        ],
        "network_interface_name": "lo",
    }


def config_files(options: TrainerOptions) -> dict[str, Any]:
    """The documents of input/config, by file name."""
    return {
        "hyperparameters.json": dict(options.hyperparameters),
        "inputdataconfig.json": {name: dict(facts) for name, facts in options.channels.items()},
        "resourceconfig.json": resource_config(options),
    }


def variables(options: TrainerOptions, ml: Path) -> dict[str, str]:
    """The SM_ variables. Texts stand as they are, all else as JSON."""
    own = user_hyperparameters(options.hyperparameters)
    framework = {
        name: decoded(value) for name, value in options.hyperparameters.items() if name in FRAMEWORK_PARAMETERS
    }
    data = ml / "input" / "data"
    module = options.program.rsplit("/", 1)[-1]
    values: dict[str, Any] = {
        "SM_CHANNELS": sorted(options.channels),
        "SM_CURRENT_HOST": HOST,
        "SM_CURRENT_INSTANCE_TYPE": options.instance_type,
        "SM_CURRENT_INSTANCE_GROUP": "homogeneousCluster",
        "SM_HOSTS": [HOST],
        "SM_FRAMEWORK_MODULE": _FRAMEWORK_MODULES.get(options.runtime, ""),
        "SM_FRAMEWORK_PARAMS": framework,
        "SM_HPS": own,
        "SM_INPUT_CONFIG_DIR": str(ml / "input" / "config"),
        "SM_INPUT_DATA_CONFIG": {name: dict(facts) for name, facts in options.channels.items()},
        "SM_INPUT_DIR": str(ml / "input"),
        "SM_IS_HETERO": False,
        "SM_LOG_LEVEL": framework.get("sagemaker_container_log_level", _LOG_LEVEL),
        "SM_MODEL_DIR": str(ml / "model"),
        "SM_MODULE_DIR": options.submit_directory,
        "SM_MODULE_NAME": module[: -len(".py")] if module.endswith(".py") else module,
        "SM_NETWORK_INTERFACE_NAME": "lo",
        "SM_NUM_CPUS": options.threads,
        "SM_NUM_GPUS": 0,
        "SM_OUTPUT_DATA_DIR": str(ml / "output" / "data"),
        "SM_OUTPUT_DIR": str(ml / "output"),
        "SM_OUTPUT_INTERMEDIATE_DIR": str(ml / "output" / "intermediate"),
        "SM_RESOURCE_CONFIG": resource_config(options),
        "SM_USER_ARGS": arguments(own),
        "SM_USER_ENTRY_POINT": options.program,
    }
    values.update(_of_model_trainer(options, ml))
    values.update({f"SM_CHANNEL_{name.upper().replace('-', '_')}": str(data / name) for name in options.channels})
    values.update({f"SM_HP_{name.upper().replace('-', '_')}": value for name, value in own.items()})
    values["SM_TRAINING_ENV"] = training_env(values, ml)
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


def _of_model_trainer(options: TrainerOptions, ml: Path) -> dict[str, Any]:
    """What the driver of SageMaker SDK 3's ModelTrainer sets besides (its scripts/environment.py)."""
    return {
        "SM_CURRENT_HOST_RANK": 0,
        "SM_ENTRY_SCRIPT": options.program,
        "SM_HOST_COUNT": 1,
        "SM_INPUT_DATA_DIR": str(ml / "input" / "data"),
        "SM_MASTER_ADDR": HOST,
        "SM_MASTER_PORT": 7777,
        "SM_NUM_NEURONS": 0,
        "SM_OUTPUT_FAILURE": str(ml / "output" / "failure"),
        "SM_SOURCE_DIR": str(ml / options.code),
    }


def training_env(values: Mapping[str, Any], ml: Path) -> dict[str, Any]:
    """SM_TRAINING_ENV: all of it in one document, under the toolkit's names."""
    names = {
        "channels": "SM_CHANNELS", "current_host": "SM_CURRENT_HOST", "framework_module": "SM_FRAMEWORK_MODULE",
        "hosts": "SM_HOSTS", "hyperparameters": "SM_HPS", "input_config_dir": "SM_INPUT_CONFIG_DIR",
        "input_data_config": "SM_INPUT_DATA_CONFIG", "input_dir": "SM_INPUT_DIR", "log_level": "SM_LOG_LEVEL",
        "model_dir": "SM_MODEL_DIR", "module_dir": "SM_MODULE_DIR", "module_name": "SM_MODULE_NAME",
        "network_interface_name": "SM_NETWORK_INTERFACE_NAME", "num_cpus": "SM_NUM_CPUS", "num_gpus": "SM_NUM_GPUS",
        "output_data_dir": "SM_OUTPUT_DATA_DIR", "output_dir": "SM_OUTPUT_DIR",
        "output_intermediate_dir": "SM_OUTPUT_INTERMEDIATE_DIR", "resource_config": "SM_RESOURCE_CONFIG",
        "user_entry_point": "SM_USER_ENTRY_POINT",
    }  # fmt: skip
    channels = {name: str(ml / "input" / "data" / name) for name in values["SM_CHANNELS"]}
    return {
        **{name: values[variable] for name, variable in names.items()},
        "channel_input_dirs": channels,
        "is_master": True,
        "master_hostname": HOST,
        "additional_framework_parameters": {},
    }


def command(options: TrainerOptions, ml: Path, algorithm: Sequence[str]) -> list[str]:
    """What is executed: the script with its arguments, or the algorithm of the image."""
    if not options.program:
        return list(algorithm)
    script = str(ml / options.code / options.program)
    words = arguments(user_hyperparameters(options.hyperparameters))
    interpreter = ["/bin/sh"] if options.program.endswith(".sh") else [options.python, "-u"]
    return [*interpreter, script, *words]
