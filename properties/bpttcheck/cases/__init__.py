"""The problems an implementation is run on: drawn, made into arrays, named, cut into blocks, or read from a file."""
