"""One framework's part of `bench.models`: ours, the reference and the floor in turns, in one process."""

import dataclasses
import importlib
import inspect
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import convert
from fake_data import make_batch

TOLERANCE = 2e-5  # of the largest output, in float32

Run = Callable[[], Any]


def measure(request: Mapping[str, Any]) -> dict[str, Any]:
    """The least seconds of each contender over the rounds, and the largest difference of the outputs."""
    side = importlib.import_module(f"bench.speed.{request['framework']}")
    module = importlib.import_module(f"models_{request['framework']}.{request['model']}")
    config = convert.live.config_class(module).from_dict(request["config"])
    side.seed(0)  # every shape has the weights that the first has saved for the reference
    model = getattr(module, module.TASKS["backbone"])(config)
    batch = _batch(request, dataclasses.asdict(config))
    products = _products(request, batch)
    contenders: dict[str, Run] = {
        "ours": side.forward(model, batch),
        "ours, backward": side.backward(model, batch),
        "floor": side.floor(products),
    }
    reference = _reference(side, request, model, config)
    difference = None
    if reference is not None:
        given = _given(reference, batch)
        contenders |= {
            "reference": side.forward(reference, given),
            "reference, backward": side.backward(reference, given),
        }
        difference = _difference(side, contenders, batch)
    return {"seconds": _seconds(contenders, request["rounds"]), "difference": difference}


def _batch(request: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A batch in which every token is attended but the last of the first row."""
    size, length = request["shape"]
    batch = dict(make_batch(request["model"], "backbone", config, batch_size=size, length=length))
    batch["attention_mask"] = np.ones_like(batch["attention_mask"])
    batch["attention_mask"][0, length - length // 8 :] = 0
    return batch


def _products(request: Mapping[str, Any], batch: Mapping[str, np.ndarray]) -> list[Any]:
    """The products of one forward pass, which torch's side writes down for Paddle's."""
    kept = (
        Path(request["folder"]) / f"{request['model']}-{request['variant']}-{'x'.join(map(str, request['shape']))}.json"
    )
    if not kept.exists():
        from bench.speed.products import of_model

        kept.write_text(json.dumps(of_model(request["model"], request["config"], batch)))
    return json.loads(kept.read_text())


def _reference(side: Any, request: Mapping[str, Any], model: Any, config: Any) -> Any:
    """The reference with our weights, as its own loading code reads what we write; None where there is none."""
    folder = Path(request["folder"]) / f"{request['model']}-{request['variant']}-{side.LAYOUT}"
    known = importlib.import_module(f"convert.layouts.{request['model']}").LAYOUTS
    if side.LAYOUT not in known or not side.has(request["model"], type(model).__name__):
        return None
    if not folder.exists():
        convert.save(model, folder, side.LAYOUT, config=config)
    return side.load(request["model"], type(model).__name__, folder)


def _given(reference: Any, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the reference takes of the batch."""
    names = inspect.signature(reference.forward).parameters
    return {name: value for name, value in batch.items() if name in names}


def _difference(side: Any, contenders: Mapping[str, Run], batch: Mapping[str, np.ndarray]) -> float:
    ours, theirs = (side.first(contenders[name]()) for name in ("ours", "reference"))
    attended = batch["attention_mask"] == 1
    if ours.shape[:2] == attended.shape:  # what stands at padding is nobody's business
        ours, theirs = ours[attended], theirs[attended]
    difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    if not difference <= TOLERANCE:
        raise SystemExit(f"the outputs differ by {difference:.1e} of the largest, so the times mean nothing")
    return difference


def _seconds(contenders: Mapping[str, Run], rounds: int) -> dict[str, float]:
    seconds = dict.fromkeys(contenders, float("inf"))
    for run in contenders.values():
        run()
    for _ in range(rounds):
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    return seconds
