"""What the server keeps: images, findings, readings, accounts and the audit log."""
