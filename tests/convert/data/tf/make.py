"""Makes the bundles in this folder: `python make.py FOLDER`, with TensorFlow 2.21, which this project never needs.

Every value follows from a tensor's place in the lists below, so that tests can compute it again.
"""

import sys
from pathlib import Path

import numpy as np

TYPES = (
    *("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8"),
    *("uint8", "uint16", "uint32", "uint64", "bool"),
)
SHAPES = {"scalar": (), "vector": (5,), "empty": (0, 7), "deep": (2, 3, 4)}
PARTITIONED = {  # name → (shape, type, axis, parts)
    "rows": ((7, 3), "float32", 0, 3),
    "columns": ((4, 9), "bfloat16", 1, 2),
    "far": ((13000, 1), "uint8", 0, 3),  # places that take more than one byte, and more than two
}


def values(number: int, shape: tuple[int, ...]) -> np.ndarray:
    """Small whole numbers, exact in every type, that begin with `number`."""
    return (np.arange(np.prod(shape, dtype=int)) + number).reshape(shape) % 113


def saver(folder: Path) -> None:
    """tf.train.Saver in its second format: one data file for each of three devices, and partitioned variables."""
    import tensorflow.compat.v1 as tf

    config = tf.ConfigProto(device_count={"CPU": 3})
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        for number, name in enumerate(TYPES):
            with tf.device(f"/cpu:{number % 3}"):
                tf.get_variable(f"types/{name}", initializer=tf.cast(values(number, (2, number + 1)), name))
        for number, (name, shape) in enumerate(SHAPES.items()):
            tf.get_variable(f"shapes/{name}", initializer=tf.constant(values(number, shape), tf.float32))
        for number, (name, (shape, dtype, axis, parts)) in enumerate(PARTITIONED.items()):
            whole = values(number, shape)

            def initial(shape, dtype, partition_info, whole=whole):
                places = zip(partition_info.var_offset, shape, strict=True)
                return tf.cast(whole[tuple(slice(start, start + size) for start, size in places)], dtype)

            partitioner = tf.fixed_size_partitioner(parts, axis)
            tf.get_variable(f"parts/{name}", shape, dtype, initial, partitioner=partitioner, use_resource=False)
        tf.get_variable("global_step", initializer=tf.constant(12345, tf.int64))
        session.run(tf.global_variables_initializer())
        folder.mkdir(parents=True)
        maker = tf.train.Saver(sharded=True, save_relative_paths=True)
        maker.save(session, str(folder / "model.ckpt"), 12345, write_meta_graph=False)


def objects(folder: Path) -> None:
    """tf.train.Checkpoint, which names tensors by the Python objects that own them and adds their graph."""
    import tensorflow as tf

    kernel, bias = (tf.Variable(values(number, shape), dtype=tf.float32) for number, shape in enumerate(((3, 4), (4,))))
    tf.train.Checkpoint(layer=tf.train.Checkpoint(kernel=kernel, bias=bias)).save(str(folder / "ckpt"))


if __name__ == "__main__":
    saver(Path(sys.argv[1]) / "saver")
    objects(Path(sys.argv[1]) / "objects")
