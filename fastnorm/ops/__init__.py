"""The public calls: check the arguments, plan, allocate, and hand the work to the backend of the device."""
