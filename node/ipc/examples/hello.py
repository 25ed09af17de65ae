"""Attaches to the local node: python3 hello.py [APP]. Needs cbor2, and OPUS_SOCKET to be set."""
import os, socket, struct, sys
import cbor2

def send(*frame):
    item = cbor2.dumps(list(frame))
    node.sendall(struct.pack(">I", len(item)) + item)

def receive():
    length, = struct.unpack(">I", stream.read(4))
    return cbor2.loads(stream.read(length))

def call(number, method, **params):
    send(1, number, method, params)
    kind, _, result = receive()
    if kind == 3:
        sys.exit(f"{method}: {result['code']}: {result['msg']}")
    return result

node = socket.socket(socket.AF_UNIX)
node.connect(os.environ["OPUS_SOCKET"].removeprefix("unix:"))
stream = node.makefile("rb")
send(0, {"proto": "opus-ipc", "v": [1], "app": "hello.py"})
print("welcome", receive()[1]["role"])
status = call(1, "node.status")
print(status["verdict"], status["peer_id"], "with", status["peers"], "peers")
if len(sys.argv) > 1:
    attached = call(2, "app.attach", **{"app": sys.argv[1], "as": "sink"})
    send(1, 3, "frames.recv", {"att": attached["att"]})
    while (frame := receive())[0] == 4:  # ITEM; END or ERR is the end
        source, seq, flags, data = frame[2]
        print(source.hex()[:8], seq, flags, data)
        send(6, 3, 1)  # CREDIT: one more
        if flags & 4:
            break
