"""The ground floor: configuration, records, files, manifests, stages, progress, devices and errors."""
