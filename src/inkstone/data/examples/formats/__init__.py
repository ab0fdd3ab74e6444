"""The formats of supervised examples, one file each; registered as `inkstone.formats`."""
