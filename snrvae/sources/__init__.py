"""The laws that points are drawn from, a module each; `known` lists them."""
