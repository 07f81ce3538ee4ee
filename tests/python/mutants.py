"""Raw DoPut messages over gRPC, so that a mutated byte reaches the server as it is."""

import json
import random

import grpc
import pyarrow as pa


def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def field(number, data):
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def flight_data(message, path=None, meta=None):
    """A FlightData (Flight.proto) of one IPC message (header, body)."""
    descriptor = field(1, varint(1 << 3) + b"\x01" + field(3, path.encode())) if path else b""
    return descriptor + field(2, message[0]) + (field(3, meta) if meta else b"") + field(1000, message[1])


def messages(schema, batch):
    """Header and body of the schema message and of the batch message."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(batch)
    reader = pa.ipc.MessageReader.open_stream(sink.getvalue())
    for _ in range(2):
        message = reader.read_next_message()
        body = message.body.to_pybytes() if message.body is not None else b""
        yield message.metadata.to_pybytes(), body


def mutate(rng, message):
    """Changes one to four bytes of the header or body, or cuts one of them off."""
    parts = [bytearray(part) for part in message]
    part = parts[rng.random() < 0.4 and len(parts[1]) > 0]
    if rng.random() < 0.1:
        del part[rng.randrange(len(part)):]
    for _ in range(rng.randint(1, 4)):
        if part:
            part[rng.randrange(len(part))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    return bytes(parts[0]), bytes(parts[1])


def send(flight, path, schema, batch, count, seed=7):
    """Sends COUNT mutants, each with a number of its own; returns how many were refused and how many stored."""
    rng = random.Random(seed)
    schema_message, batch_message = messages(schema, batch)
    channel = grpc.insecure_channel(flight.removeprefix("grpc://"))
    put = channel.stream_stream("/arrow.flight.protocol.FlightService/DoPut",
                                request_serializer=bytes, response_deserializer=bytes)
    refused = stored = 0
    for seq in range(1, count + 1):
        meta = json.dumps({"producer": "mutant/security", "incarnation": 1, "seq": seq}).encode()
        on_schema = rng.random() < 0.2
        head = mutate(rng, schema_message) if on_schema else schema_message
        body = batch_message if on_schema else mutate(rng, batch_message)
        try:
            answers = list(put(iter([flight_data(head, path), flight_data(body, meta=meta)]), timeout=30))
            stored += len(answers)
        except grpc.RpcError as error:
            assert error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED), (error.code(), error.details())
            assert error.details(), "an error says why"
            refused += 1
    channel.close()
    return refused, stored
