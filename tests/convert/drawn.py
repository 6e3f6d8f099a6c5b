"""Writes blueprints the plain way, as an oracle beside the streaming writer of convert.transfer."""

import zlib

import crc32c

CHECKSUMS = {"crc32": zlib.crc32, "crc32c": crc32c.crc32c}


def write_drawn(folder, blueprints, arrays):
    """Write every blueprint into `folder`, with the bytes of `arrays` (name → array of stored words) in its holes."""
    contents = {name: array.tobytes() for name, array in arrays.items()}
    for blueprint in blueprints:
        pieces = [contents[piece] if isinstance(piece, str) else piece for piece in blueprint.pieces]
        with (folder / blueprint.name).open("w+b") as file:
            file.write(b"".join(pieces))
            checksums = {name: CHECKSUMS[blueprint.checksum](data) for name, data in contents.items()}
            for offset, data in blueprint.patches(checksums).items():
                file.seek(offset)
                file.write(data)
