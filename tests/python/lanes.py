"""Rows of `drops` and a DoPut stream, for scripts that send."""

import json

import pyarrow as pa
import pyarrow.flight

SCHEMA = pa.schema([
    pa.field("ts", pa.timestamp("us", "UTC"), False), pa.field("producer", pa.string(), False),
    pa.field("class", pa.string(), False), pa.field("reason", pa.string(), False), pa.field("count", pa.int64(), False)])


def batch(first, rows, schema=SCHEMA):
    numbers = list(range(first, first + rows))
    return pa.record_batch([
        pa.array(numbers, schema.field(0).type), pa.array(["p"] * rows), pa.array(["security"] * rows),
        pa.array([f"reason {n % 7}" for n in numbers]), pa.array(numbers, schema.field(4).type)], schema=schema)


class Lane:
    """One DoPut stream that waits for each acknowledgement."""

    def __init__(self, client, stream="drops", schema=SCHEMA, incarnation=1, producer="test/security"):
        self.incarnation, self.producer = incarnation, producer
        self.writer, self.reader = client.do_put(pa.flight.FlightDescriptor.for_path(stream), schema)

    def send(self, seq, records):
        meta = {"producer": self.producer, "incarnation": self.incarnation, "seq": seq}
        self.writer.write_with_metadata(records, json.dumps(meta).encode())
        answer = self.reader.read()
        if answer is None:
            self.writer.close()  # raises what the server said
            raise AssertionError("the stream ended without an error")
        answer = json.loads(answer.to_pybytes())
        assert answer["acked_seq"] == seq and answer["credit_bytes"] > 0, answer

    def close(self):
        self.writer.close()
