"""Reads the golden vectors with cbor2: python3 vectors.py FOLDER. Exit 1 at a difference."""
import json, pathlib, struct, sys
import cbor2

def plain(value):
    """As the JSON beside the bytes: byte strings are {"hex": ..}."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value

count = 0
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
    if path.name == "malformed.json":
        continue
    for vector in json.loads(path.read_text()):
        frame = bytes.fromhex(vector["hex"])
        length, = struct.unpack(">I", frame[:4])
        value = cbor2.loads(frame[4:])
        where = f"{path.name}: {vector['name']}"
        assert length == len(frame) - 4, where
        assert plain(value) == vector["value"], where
        assert cbor2.dumps(value) == frame[4:], where
        count += 1
print(count, "vectors")
