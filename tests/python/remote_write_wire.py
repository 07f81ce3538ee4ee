"""Bodies of remote write v1 made by hand: protocol buffers in snappy's block format."""

import struct


def varint(number):
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def zigzag(number):
    return varint((number << 1) ^ (number >> 63))


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def double(number, value):
    return varint(number << 3 | 1) + struct.pack("<d", value)


def snappy(raw):
    """The block format with literals alone."""
    out = bytearray(varint(len(raw)))
    for start in range(0, len(raw), 1 << 16):
        part = raw[start:start + (1 << 16)]
        out += b"\xf4" + struct.pack("<H", len(part) - 1) + part
    return bytes(out)


def native(count):
    """A native histogram of schema 0 with `count` observations in its first bucket; its time comes later."""
    span = varint(1 << 3) + zigzag(0) + varint(2 << 3) + varint(1)
    return (
        varint(1 << 3) + varint(count) + double(3, float(count)) + varint(4 << 3) + zigzag(0) + double(5, 0.001)
        + field(11, span) + field(12, zigzag(count))
    )


def spans(number, buckets):
    """Runs of neighbors among the bucket numbers."""
    out, last = b"", None
    for at in sorted(buckets):
        if at - 1 != last:
            run = 1
            while at + run in buckets:
                run += 1
            out += field(number, varint(1 << 3) + zigzag(at if last is None else at - last - 1) + varint(2 << 3) + varint(run))
        last = at
    return out


def histogram(count, total, positive, schema=0, negative=(), zero=0, threshold=0.001, hint=0, bounds=(), is_float=False):
    """A native histogram: counts by bucket number. Its time comes later. Custom bounds belong to schema -53."""
    positive, negative = dict(positive), dict(negative)
    out = double(3, total) + varint(4 << 3) + zigzag(schema) + double(5, threshold) + varint(14 << 3) + varint(hint)
    out += double(2, count) + double(7, zero) if is_float else varint(1 << 3) + varint(int(count)) + varint(6 << 3) + varint(int(zero))
    for first, buckets in ((8, negative), (11, positive)):
        out += spans(first, buckets)
        counts = [buckets[at] for at in sorted(buckets)]
        if is_float:
            out += field(first + 2, struct.pack(f"<{len(counts)}d", *counts)) if counts else b""
        else:
            steps = [after - before for before, after in zip([0, *counts], counts)]
            out += field(first + 1, b"".join(zigzag(int(step)) for step in steps)) if counts else b""
    return out + (field(16, struct.pack(f"<{len(bounds)}d", *bounds)) if bounds else b"")


def pairs(labels):
    """Labels as messages, each a field 1."""
    return b"".join(field(1, field(1, name.encode()) + field(2, labels[name].encode())) for name in sorted(labels))


def series(labels, points, exemplars=()):
    """Labels as a dict, points as (milliseconds, float or what `native` gives), exemplars as (labels, milliseconds, value)."""
    message = bytearray(pairs(labels))
    for at_ms, value in points:
        if isinstance(value, bytes):
            message += field(4, value + varint(15 << 3) + varint(at_ms))
        else:
            message += field(2, double(1, value) + varint(2 << 3) + varint(at_ms))
    for own, at_ms, value in exemplars:
        message += field(3, pairs(own) + double(2, value) + varint(3 << 3) + varint(at_ms))
    return field(1, bytes(message))


def body(all_series):
    return snappy(b"".join(series(*one) for one in all_series))
