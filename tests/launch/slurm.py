"""Slurm's daemons of a test's own, on this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")

CONF = """\
ClusterName=test
SlurmctldHost={host}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
KillWait=5
NodeName={host} CPUs={cores} State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def answers() -> bool:
    """Whether a cluster takes jobs from this machine."""
    if shutil.which("sinfo") is None:
        return False
    done = subprocess.run(["sinfo", "--noheader", "--format=%a"], capture_output=True, text=True, check=False)
    return done.returncode == 0 and "up" in done.stdout


@contextmanager
def daemons(folder: Path) -> Iterator[str | None]:
    """Munge and Slurm with one node; yields the reason where they do not start or are not asked for, else None.

    Args:
        folder: For their files; every folder above it must be searchable by all.
    """
    if not os.environ.get("HELDOUT_TEST_SLURM"):
        yield "HELDOUT_TEST_SLURM is not set"
        return
    absent = [name for name in DAEMONS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if absent or os.getuid() != 0:
        yield f"{absent[0]} is not installed" if absent else "its daemons need root"
        return
    conf, before = folder / "slurm.conf", os.environ.get("SLURM_CONF")
    ports = _free_ports()
    conf.write_text(CONF.format(folder=folder, host=socket.gethostname(), cores=os.cpu_count(), ports=ports))
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    munge = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid"}
    munge |= {"log-file": "munged.log", "seed-file": "munge.seed"}
    os.environ["SLURM_CONF"] = str(conf)
    try:
        commands = [
            ["/usr/sbin/munged", "--force", *(f"--{key}={folder / name}" for key, name in munge.items())],
            ["/usr/sbin/slurmctld"],
            ["/usr/sbin/slurmd"],
        ]
        failed = next((words[0] for words in commands if subprocess.run(words, check=False).returncode), None)
        end = time.monotonic() + 20
        while failed is None and not answers() and time.monotonic() < end:
            time.sleep(0.2)
        yield failed and f"{failed} does not start" if failed or answers() else "no answer from slurmctld"
    finally:
        for name in ("slurmd", "slurmctld", "munged"):
            if (folder / f"{name}.pid").exists():
                subprocess.run(["kill", (folder / f"{name}.pid").read_text().strip()], check=False)
        os.environ.pop("SLURM_CONF")
        if before is not None:
            os.environ["SLURM_CONF"] = before


def _free_ports() -> list[int]:
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.bind(("", 0))
        return [one.getsockname()[1], two.getsockname()[1]]
