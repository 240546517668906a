"""A Slurm of one node in a folder of its own, for tests: munged, slurmctld and slurmd, as root."""

import os
import pathlib
import shutil
import socket
import subprocess
import time

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "squeue", "scontrol")


def missing():
    """Why it cannot run here, or ""."""
    if os.getuid() != 0:
        return "Slurm's daemons need root"
    for program in PROGRAMS:
        if shutil.which(program) is None:
            return f"{program} is not installed (tools/setup launchers)"
    return ""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SlurmdParameters=config_overrides
# A job that is queued again is looked at soon: by default after two minutes.
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0,requeue_delay=1
SchedulerType=sched/builtin
KillWait=30
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class MiniSlurm:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.processes = []
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        # munged wants folders that only their owner writes to.
        os.chmod(self.folder, 0o755)
        self.config = self.folder / "slurm.conf"
        self.config.write_text(
            CONFIG.format(
                host=socket.gethostname().split(".")[0],
                folder=self.folder,
                controller_port=free_port(),
                node_port=free_port(),
            )
        )
        self.environment = os.environ | {"SLURM_CONF": str(self.config)}
        munge = ["munged", "--force", "--foreground", f"--key-file={key}", f"--socket={self.folder}/munge.socket"]
        munge += [f"--{one}-file={self.folder}/munge.{one}" for one in ("pid", "log", "seed")]
        self.start(munge)
        self.wait_for(lambda: (self.folder / "munge.socket").exists(), "munged")
        self.start(["slurmctld", "-D", "-f", self.config])
        self.start(["slurmd", "-D", "-f", self.config])
        self.wait_for(lambda: self.run("sinfo", "-h", "-o", "%T").stdout.strip() == "idle", "the node")

    def start(self, command):
        with open(self.folder / f"{command[0]}.out", "w") as log:
            self.processes.append(
                subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, env=self.environment)
            )

    def run(self, *command, **more):
        return subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, env=self.environment, **more
        )

    def wait_for(self, holds, what, seconds=60):
        deadline = time.time() + seconds
        while not holds():
            if time.time() > deadline:
                logs = "".join(path.read_text()[-2000:] for path in sorted(self.folder.glob("slurm*.log")))
                raise TimeoutError(f"{what} did not come within {seconds} s\n{logs}")
            time.sleep(0.2)

    def stop(self):
        self.run("scancel", "--user=root", "--signal=KILL", "--full")
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
