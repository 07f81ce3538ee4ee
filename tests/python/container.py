"""A real container of runc that computes a little until it is ended."""

import json
import os
import subprocess

BUSY = "while :; do n=$((n+1)); [ $((n % 20000)) = 0 ] && { sleep 0.05; echo $n > /tmp/n; }; done"


class Container:
    """Runs in the cgroup of a container `id`, its own root made of the host's programs."""

    def __init__(self, folder, id):
        self.name, bundle = f"bodkin-{os.getpid()}", os.path.join(folder, "bundle")
        os.makedirs(os.path.join(bundle, "rootfs"))
        subprocess.run(["runc", "spec", "--bundle", bundle], check=True)
        path = os.path.join(bundle, "config.json")
        with open(path) as file:
            spec = json.load(file)
        spec["process"].update(terminal=False, args=["/bin/sh", "-c", BUSY], capabilities={})
        spec["root"] = {"path": "rootfs", "readonly": False}
        host = [{"destination": at, "type": "bind", "source": os.path.realpath(at), "options": ["rbind", "ro"]} for at in ("/usr", "/bin", "/lib", "/lib64") if os.path.isdir(at)]
        spec["mounts"] = [mount for mount in spec["mounts"] if mount["type"] == "proc"] + host + [{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}]
        linux = spec["linux"]
        spec["linux"] = {"cgroupsPath": f"/docker/{id}", "namespaces": [one for one in linux["namespaces"] if one["type"] != "cgroup"]}
        with open(path, "w") as file:
            json.dump(spec, file)
        with open(os.path.join(folder, "container.log"), "wb") as log:
            subprocess.run(["runc", "run", "-d", "--bundle", bundle, self.name], check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["runc", "delete", "--force", self.name], check=False)
