"""One reader per kind of source; each is a plug-in of the kind `readers`."""
