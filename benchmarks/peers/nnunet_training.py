"""A training of nnU-Net that ends after a wall time, and its validation; run by the Python of nnU-Net's environment.

Called as ``python benchmarks/peers/nnunet_training.py --dataset 4 --fold 0 --minutes 15``. The folders are those of
nnU-Net's own variables, ``nnUNet_raw``, ``nnUNet_preprocessed`` and ``nnUNet_results``. Its last line is JSON.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from batchgenerators.utilities.file_and_folder_operations import load_json
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

STEPS = 25  # of an epoch, after which the learning rate falls


class TimedTrainer(nnUNetTrainer):
    """nnU-Net's trainer whose polynomial schedule ends with a wall time instead of a number of epochs."""

    minutes = 15.0
    steps = 0
    seconds = 0.0

    def run_training(self) -> None:
        """Train for ``minutes``, without validation on the way; loading the data comes before the clock."""
        self.on_train_start()
        next(self.dataloader_train)  # its processes have started
        self.network.train()
        started = time.perf_counter()
        while self.seconds < 60 * self.minutes:
            rate = self.initial_lr * (1 - self.seconds / (60 * self.minutes)) ** 0.9
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            for _ in range(STEPS):
                loss = self.train_step(next(self.dataloader_train))["loss"]
                self.steps += 1
                self.seconds = time.perf_counter() - started
                if self.seconds >= 60 * self.minutes:
                    break
            print(f"{self.seconds:.0f} s: {self.steps} steps, loss {loss:.4f}, rate {rate:.5f}", flush=True)
        self.save_checkpoint(str(Path(self.output_folder) / "checkpoint_final.pth"))
        self.stop_loading()

    def stop_loading(self) -> None:
        """End the processes that load and augment."""
        for loader in (self.dataloader_train, self.dataloader_val):
            if hasattr(loader, "_finish"):
                loader._finish()


def main() -> None:
    """Train and validate; print what was done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", type=int, required=True)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--configuration", default="3d_fullres")
    given = parser.parse_args()

    folder = Path(str(nnUNet_preprocessed)) / maybe_convert_to_dataset_name(given.dataset)
    plans = load_json(str(folder / "nnUNetPlans.json")) | {"continue_training": False}
    description = load_json(str(folder / "dataset.json"))
    trainer = TimedTrainer(plans, given.configuration, given.fold, description, torch.device("cpu"))
    trainer.minutes = given.minutes
    trainer.run_training()
    started = time.perf_counter()
    trainer.perform_actual_validation(save_probabilities=True)
    batch, patch = trainer.batch_size, trainer.configuration_manager.patch_size
    report = {
        "folder": trainer.output_folder,
        "steps": trainer.steps,
        "batch": batch,
        "patch": list(patch),
        "samples": trainer.steps * batch,
        "seconds": trainer.seconds,
        "validation_seconds": time.perf_counter() - started,
        "parameters": sum(one.numel() for one in trainer.network.parameters()),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
