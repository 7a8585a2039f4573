"""What comes in: tensors, arrays and PIL images, brought to one form without copying pixels."""
