"""Weight streaming: parameters live in a store and pass through the device a layer at a time."""
