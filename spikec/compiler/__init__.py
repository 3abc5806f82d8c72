"""The intermediate representation and the contracts that every other room keeps."""
