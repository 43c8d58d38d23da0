"""Networks: a module for each kind, whose function `build` makes an encoder's or a decoder's network."""
