"""The memory images of the spike core, to the byte: words, banks, the container, and the readers that check them."""
