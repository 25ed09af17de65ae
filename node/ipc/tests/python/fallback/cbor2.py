"""As much of the package cbor2 as the tests need, for machines without it."""
import struct

def dumps(value):
    if value is None or isinstance(value, bool):
        return {None: b"\xf6", False: b"\xf4", True: b"\xf5"}[value]
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        text = value.encode()
        return _head(3, len(text)) + text
    if isinstance(value, list):
        return _head(4, len(value)) + b"".join(map(dumps, value))
    if isinstance(value, dict):
        pairs = (dumps(key) + dumps(item) for key, item in value.items())
        return _head(5, len(value)) + b"".join(pairs)
    raise TypeError(type(value))

def loads(data):
    value, rest = _item(data)
    if rest:
        raise ValueError("bytes left over")
    return value

def _head(major, number):
    if number < 24:
        return bytes([major << 5 | number])
    for info, form in ((24, ">B"), (25, ">H"), (26, ">I"), (27, ">Q")):
        if number < 1 << 8 * struct.calcsize(form):
            return bytes([major << 5 | info]) + struct.pack(form, number)
    raise ValueError(number)

def _item(data):
    major, info, data = data[0] >> 5, data[0] & 31, data[1:]
    width = {24: 1, 25: 2, 26: 4, 27: 8}.get(info, 0)
    number = int.from_bytes(data[:width], "big") if width else info
    tail, data = data[:width], data[width:]
    if major < 2:
        return (number if major == 0 else -1 - number), data
    if major < 4:
        text = data[:number]
        return (text if major == 2 else text.decode()), data[number:]
    if major == 7:
        if info == 27:
            return struct.unpack(">d", tail)[0], data
        return {20: False, 21: True, 22: None}[info], data
    values = []
    for _ in range(number * (major - 3)):
        value, data = _item(data)
        values.append(value)
    return (values if major == 4 else dict(zip(values[::2], values[1::2]))), data
