"""Two "hosts" on this machine: network namespaces with a link between them. Needs root and iproute2."""

import os
import shutil
import subprocess


def why_none():
    """Why there are none here, or ""."""
    if os.getuid() != 0 or shutil.which("ip") is None:
        return "network namespaces need root and iproute2"
    name = f"vernier-try-{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if done.returncode != 0:
        return "network namespaces cannot be made here: " + done.stderr.strip()
    subprocess.run(["ip", "netns", "del", name])
    return ""


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Hosts:
    interface = "cluster0"
    addresses = ("10.77.0.1", "10.77.0.2")

    def __init__(self, name):
        self.names = [f"vernier-{name}-{i}" for i in (0, 1)]
        for host in self.names:
            ip("netns", "add", host)
        ip("link", "add", "vn0", "netns", self.names[0], "type", "veth", "peer", "name", "vn1", "netns", self.names[1])
        for i, host in enumerate(self.names):
            # The same name on both sides, as on machines of one kind.
            ip("-n", host, "link", "set", f"vn{i}", "name", self.interface)
            ip("-n", host, "addr", "add", f"{self.addresses[i]}/24", "dev", self.interface)
            for link in (self.interface, "lo"):
                ip("-n", host, "link", "set", link, "up")

    def cut(self):
        ip("-n", self.names[0], "link", "set", self.interface, "down")

    def heal(self):
        ip("-n", self.names[0], "link", "set", self.interface, "up")

    def close(self):
        for host in self.names:
            subprocess.run(["ip", "netns", "del", host], capture_output=True)
