"""Quality filters: each looks at one document and keeps it, or says why it is dropped."""
