"""torchdata's StatefulDataLoader: a run that stops in the middle of an epoch, and another that goes on.

Run it with `python -m examples.torchdata_resume.before [FOLDER]`.
"""

import torch
from PIL import Image
from torch.utils.data import Dataset
from torchdata.stateful_dataloader import StatefulDataLoader
from torchvision import transforms

from examples import tiny


class Images(Dataset):
    def __init__(self, folder):
        self.files = tiny.files(folder)
        self.transform = transforms.Compose(
            [
                transforms.Resize(256),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        image = Image.open(self.files[index]).convert("RGB")
        return {"pixel_values": self.transform(image), "index": index}


def batches(folder):
    generator = torch.Generator().manual_seed(0)
    return StatefulDataLoader(Images(folder), tiny.BATCH, shuffle=True, num_workers=2, generator=generator)


def main(folder, steps):
    model = tiny.classifier()
    losses, fed, state = [], [], None
    for until in (steps // 3, steps):  # the second round is a new process, in your run
        loader = batches(folder)
        if state is not None:
            loader.load_state_dict(state)
        for batch in loader:
            loss = torch.nn.functional.cross_entropy(model(batch["pixel_values"]), batch["index"] % 5)
            loss.backward()
            with torch.no_grad():
                for weight in model.parameters():
                    weight -= 0.1 * weight.grad
                    weight.grad = None
            losses.append(loss.item())
            fed.append((batch["pixel_values"], batch["index"]))
            if len(losses) == until:
                state = loader.state_dict()
                break
    return losses, fed


if __name__ == "__main__":
    tiny.run(main)
