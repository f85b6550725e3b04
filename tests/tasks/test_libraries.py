"""The network libraries come without torch's compiler, and with it when something asks for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from heldout.files import REPOSITORY

ABSENT = "import sys, heldout.tasks.nets.libraries; assert 'torch._dynamo' not in sys.modules\n"
USES = {
    "nothing": "",
    "torchvision's own use": (
        "module = sys.modules['torchvision.ops.roi_align']\n"
        "assert module.is_compile_supported('cpu') in (True, False)\n"
        "import torch._dynamo.utils as real\nassert real.__file__ and real.istype(1, int)"
    ),
    "torch.compile": (
        "import torch\nnetwork, image = torch.nn.Linear(2, 2), torch.ones(1, 2)\n"
        "assert torch.equal(torch.compile(network, backend='eager')(image), network(image))"
    ),
    "a function without the compiler": (
        "from timm.models.naflexvit import disable_compiler\nassert disable_compiler(lambda x: x + 1)(1) == 2\n"
        "import torch\nassert 'torch._dynamo' in sys.modules and torch.compiler.disable.__module__ == 'torch.compiler'"
    ),
}


@pytest.mark.parametrize("use", USES)
def test_the_compiler_is_imported_only_when_used(use):
    command = [sys.executable, "-c", ABSENT + USES[use]]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(REPOSITORY / "src"), "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
